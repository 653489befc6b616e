//! The real tools judge: OpenSSL, OpenSSH, PuTTY.
#![allow(clippy::unwrap_used)]

use super::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

/// A shell command's output; the files are its `$1` and so on.
fn sh(script: &str, files: &[&Path]) -> String {
    let child = Command::new("sh").args(["-ec", script, "sh"]).args(files).stdin(Stdio::null()).output().unwrap();
    assert!(child.status.success(), "{script}: {}", String::from_utf8_lossy(&child.stderr));
    String::from_utf8(child.stdout).unwrap().trim().to_owned()
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn without_comment(line: &str) -> String {
    line.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn created_rsa_is_what_openssl_and_openssh_say() {
    let folder = Folder::new();
    let made = create(KeyType::Rsa, PrivateForm::Pem, "my key", &mut rng()).unwrap();
    assert!(made.private.starts_with("-----BEGIN RSA PRIVATE KEY-----\n") && made.private.ends_with("-----END RSA PRIVATE KEY-----"));
    let file = folder.file("k.pem", &made.private);
    let sha1 = sh("openssl pkcs8 -in $1 -inform PEM -outform DER -topk8 -nocrypt | openssl sha1 -c", &[&file]);
    assert_eq!(sha1.split_once("= ").unwrap().1, made.public.fingerprint);
    assert_eq!(without_comment(&sh("ssh-keygen -y -f $1", &[&file])), without_comment(&made.public.line("x")));
    assert_eq!(sh("openssl rsa -in $1 -check -noout 2>&1", &[&file]), "RSA key ok");
    assert!(sh("openssl rsa -in $1 -noout -text", &[&file]).contains("2048 bit"));
    assert!(made.public.line("my key").ends_with("= my key") || made.public.line("my key").ends_with(" my key"));
}

#[test]
fn created_ed25519_is_what_openssh_says() {
    let folder = Folder::new();
    let made = create(KeyType::Ed25519, PrivateForm::Pem, "my key", &mut rng()).unwrap();
    let file = folder.file("k.pem", &made.private);
    assert_eq!(sh("ssh-keygen -y -f $1", &[&file]), made.public.line("my key"));
    let shown = sh("ssh-keygen -l -f $1", &[&file]);
    assert_eq!(shown, format!("256 SHA256:{} my key (ED25519)", made.public.fingerprint.trim_end_matches('=')));
}

fn putty_agrees(made: &Created) {
    let folder = Folder::new();
    let file = folder.file("k.ppk", &made.private);
    assert_eq!(sh("puttygen $1 -O public-openssh", &[&file]), made.public.line("my key"));
    sh("puttygen $1 -O private-openssh -o $1.pem", &[&file]);
    // What it wrote signs, and the signature is good for the public half: so the secret is the right one.
    let allowed = folder.file("allowed", &format!("me {}\n", made.public.line("x")));
    sh("echo text > $1.text; ssh-keygen -y -f $1.pem > $1.pem.pub; ssh-keygen -q -Y sign -f $1.pem -n n $1.text 2>&1", &[&file]);
    sh("ssh-keygen -q -Y verify -f $2 -I me -n n -s $1.text.sig < $1.text", &[&file, &allowed]);
}

/// Goal: PuTTY's own tool reads both kinds, checks the MAC, and finds the same key.
#[test]
fn putty_reads_both_kinds() {
    putty_agrees(&create(KeyType::Rsa, PrivateForm::Ppk, "my key", &mut rng()).unwrap());
    putty_agrees(&create(KeyType::Ed25519, PrivateForm::Ppk, "my key", &mut rng()).unwrap());
    // A seed is 32 bytes and no number: neither its zeros nor its highest bit mean anything.
    for (first, last) in [(0x00, 0x00), (0x00, 0xff), (0xff, 0x00), (0xff, 0xff), (0x7f, 0x80)] {
        let mut seed = [0x55; 32];
        (seed[0], seed[31]) = (first, last);
        putty_agrees(&created_ed25519(&SigningKey::from_bytes(&seed), PrivateForm::Ppk, "my key", 1));
    }
}

#[test]
fn imported_rsa_in_every_form() {
    let folder = Folder::new();
    for bits in [1024, 2048, 4096] {
        let pem = folder.file("k.pem", &sh(&format!("openssl genrsa -traditional {bits} 2>/dev/null"), &[]));
        let md5 = sh("openssl rsa -in $1 -pubout -outform DER 2>/dev/null | openssl md5 -c", &[&pem]);
        let line = sh("ssh-keygen -y -f $1", &[&pem]);
        let line_file = folder.file("k.pub", &format!("{line} somebody@host\n"));
        let forms = [
            format!("{line} somebody@host"),
            format!("{line}\n"),
            sh("openssl rsa -in $1 -pubout -outform DER 2>/dev/null | base64 -w0", &[&pem]),
            sh("openssl rsa -in $1 -pubout -outform DER 2>/dev/null | base64", &[&pem]),
            sh("ssh-keygen -e -m RFC4716 -f $1", &[&line_file]),
            sh("ssh-keygen -e -m RFC4716 -f $1", &[&line_file]).replace("Comment: ", "Comment: a long one\\\nthat goes on "),
        ];
        for form in forms {
            let key = import(form.as_bytes()).unwrap_or_else(|e| panic!("{e:?}: {form}"));
            assert_eq!(key.fingerprint, md5.split_once("= ").unwrap().1);
            assert_eq!(key.line("name"), format!("{} name", without_comment(&line)));
        }
    }
}

#[test]
fn imported_ed25519() {
    let folder = Folder::new();
    let path = folder.0.path().join("k");
    sh("ssh-keygen -q -t ed25519 -N '' -C c -f $1", &[&path]);
    let line = std::fs::read_to_string(folder.0.path().join("k.pub")).unwrap();
    let key = import(line.as_bytes()).unwrap();
    assert_eq!(key.line("c"), line.trim_end());
    assert_eq!(sh("ssh-keygen -l -f $1", &[&path]), format!("256 SHA256:{} c (ED25519)", key.fingerprint.trim_end_matches('=')));
}

#[test]
fn what_is_no_key_for_aws() {
    let folder = Folder::new();
    let made = |kind: &str| {
        let path = folder.0.path().join("other");
        let _ = std::fs::remove_file(&path);
        sh(&format!("ssh-keygen -q {kind} -N '' -f $1"), &[&path]);
        (std::fs::read_to_string(&path).unwrap(), std::fs::read_to_string(folder.0.path().join("other.pub")).unwrap())
    };
    assert_eq!(import(made("-t rsa -b 3072").1.as_bytes()).unwrap_err(), BadKey::Length);
    assert_eq!(import(made("-t ecdsa").1.as_bytes()).unwrap_err(), BadKey::Format);
    let (private, public) = made("-t ed25519");
    assert_eq!(import(private.as_bytes()).unwrap_err(), BadKey::Format);
    let blob = public.split(' ').nth(1).unwrap();
    let rsa = create(KeyType::Rsa, PrivateForm::Pem, "", &mut rng()).unwrap();
    for bad in [
        "",
        "   ",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAA==",
        "not base64!",
        "bm90IGEga2V5",
        "---- BEGIN SSH2 PUBLIC KEY ----",
        "---- BEGIN SSH2 PUBLIC KEY ----\n---- END SSH2 PUBLIC KEY ----",
        &format!("ssh-rsa {blob}"),
        &format!("ssh-ed25519 {}", &blob[..blob.len() - 4]),
        &format!("ssh-rsa {}", BASE64.encode([rsa.public.blob.as_slice(), &[0]].concat())),
        &"A".repeat(20_000),
        &rsa.private,
    ] {
        assert_eq!(import(bad.as_bytes()).unwrap_err(), BadKey::Format, "{bad}");
    }
    assert_eq!(import(b"\xff\xfe").unwrap_err(), BadKey::Format);
}
