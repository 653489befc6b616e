//! The time for a VPC's guests (SNTP, RFC 4330), at 169.254.169.123 as in AWS: the host's own clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::UdpSocket;

/// A packet's length without extensions, in bytes.
const PACKET_BYTES: usize = 48;
/// Seconds from NTP's epoch (1900) to Unix's.
const EPOCH_SECONDS: u64 = 2_208_988_800;
/// How far the clock is said to be from a reference: the host's own distance isn't known here.
const STRATUM: u8 = 3;
/// Two to the power of this is the clock's step in seconds: about a microsecond.
const PRECISION: i8 = -20;
const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;
/// How long to wait after a socket failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// Answers until it is dropped.
pub(super) async fn serve(socket: &UdpSocket) {
    let mut request = [0; PACKET_BYTES];
    loop {
        match socket.recv_from(&mut request).await {
            Ok((PACKET_BYTES, from)) => {
                if let Some(reply) = answer(&request, SystemTime::now()) {
                    // A full queue drops it, as the network might: the guest asks again.
                    let _ = socket.try_send_to(&reply, from);
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "a question for the time was not read");
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
        }
    }
}

fn answer(request: &[u8; PACKET_BYTES], now: SystemTime) -> Option<[u8; PACKET_BYTES]> {
    let (version, mode) = (request[0] >> 3 & 7, request[0] & 7);
    if mode != MODE_CLIENT || !(1..=4).contains(&version) {
        return None;
    }
    let now = timestamp(now);
    let mut reply = [0; PACKET_BYTES];
    reply[0] = version << 3 | MODE_SERVER;
    reply[1] = STRATUM;
    reply[2] = request[2];
    reply[3] = PRECISION.to_be_bytes()[0];
    // Root dispersion: a millisecond, as 16.16 fixed point.
    reply[8..12].copy_from_slice(&(65_536_u32 / 1000).to_be_bytes());
    reply[12..16].copy_from_slice(&super::links::TIME.octets());
    reply[16..24].copy_from_slice(&now);
    reply[24..32].copy_from_slice(&request[40..48]);
    reply[32..40].copy_from_slice(&now);
    reply[40..48].copy_from_slice(&now);
    Some(reply)
}

/// Seconds since 1900, modulo 2³², and their fraction.
fn timestamp(now: SystemTime) -> [u8; 8] {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    let seconds = (since.as_secs() + EPOCH_SECONDS) & u64::from(u32::MAX);
    (seconds << 32 | fraction).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_finds_its_own_time_in_the_answer() {
        let mut request = [0; PACKET_BYTES];
        request[0] = 4 << 3 | MODE_CLIENT;
        request[40..48].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let now = UNIX_EPOCH + Duration::new(1_795_493_259, 500_000_000);
        let reply = answer(&request, now).unwrap_or([0; PACKET_BYTES]);
        assert_eq!(reply[0], 4 << 3 | MODE_SERVER);
        assert_eq!(reply[24..32], [1, 2, 3, 4, 5, 6, 7, 8]);
        let seconds = u32::from_be_bytes([reply[40], reply[41], reply[42], reply[43]]);
        assert_eq!(u64::from(seconds), 1_795_493_259 + EPOCH_SECONDS);
        assert_eq!(reply[44], 0x80);
        assert_eq!(answer(&reply, now), None, "an answer is no question");
    }
}
