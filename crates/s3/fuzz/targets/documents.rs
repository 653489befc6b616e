//! Documents in XML or JSON, through the whole front; what was taken must come back.
#![no_main]

mod front;

use front::{Ask, furnished, judged};

/// What is sent with a document: method, what it is about, parameter. The first letter of the data names one, from `a` on. The first of
/// them can be read again.
const PLACES: [(&str, &str, &str); 23] = [
    ("PUT", "", "acl"),
    ("PUT", "", "cors"),
    ("PUT", "", "encryption"),
    ("PUT", "", "lifecycle"),
    ("PUT", "", "logging"),
    ("PUT", "", "notification"),
    ("PUT", "", "object-lock"),
    ("PUT", "", "ownershipControls"),
    ("PUT", "", "policy"),
    ("PUT", "", "publicAccessBlock"),
    ("PUT", "", "requestPayment"),
    ("PUT", "", "tagging"),
    ("PUT", "", "versioning"),
    ("PUT", "", "website"),
    ("PUT", "", "accelerate"),
    ("PUT", "/k", "acl"),
    ("PUT", "/k", "tagging"),
    ("PUT", "/k", "legal-hold"),
    ("PUT", "/k", "retention"),
    ("POST", "", "delete"),
    ("POST", "/u", "uploadId"),
    ("POST", "/k", "restore"),
    ("PUT", "", "replication"),
];
/// How many of them can be read again.
const READABLE: usize = 17;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [place, body @ ..] = data else { return };
    let place = usize::from(place.wrapping_sub(b'a')) % PLACES.len();
    let (method, about, parameter) = PLACES[place];
    furnished(|world, bucket, upload| {
        let value = if parameter == "uploadId" { upload } else { "" };
        let about = |method: &str| Ask::new(method, &format!("/{bucket}{about}")).query(parameter, value);
        if judged(world, &about(method).body(body)).status.is_success() && place < READABLE {
            let again = judged(world, &about("GET"));
            // A setting may be taken by which nothing is set.
            assert!(again.status == 200 || again.status == 404, "{again:?}");
        }
    });
});
