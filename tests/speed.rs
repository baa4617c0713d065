//! What one core's Blowfish and MD5 allow, measured. Nothing is judged: `tests/bench.sh` puts it
//! beside transfers.
//!
//!     cargo test --release --test speed -- --ignored --nocapture

use std::time::{Duration, Instant};

use makuosan::crypto::{Cipher, HmacKey, pbkdf2};

/// Bytes per second of `work`, which takes `bytes` each time: the best of several runs, since others
/// may have the processor meanwhile.
#[allow(clippy::disallowed_methods)]
fn speed(bytes: usize, mut work: impl FnMut(u64)) -> f64 {
    let mut best: f64 = 0.0;
    for run in 0..10 {
        let (began, mut done) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_millis(100) {
            (0..64).for_each(|at| work(run * 1_000_000 + done * 64 + at));
            done += 1;
        }
        best = best.max((done * 64) as f64 * bytes as f64 / began.elapsed().as_secs_f64());
    }
    best
}

#[test]
#[ignore = "a measurement"]
fn blowfish_and_md5() {
    let (mut packet, key) = (vec![0x5a; 1_424], HmacKey::new(b"key"));
    let cipher = Cipher::new(&[7; 16]);
    let blowfish = speed(packet.len(), |at| cipher.apply(at, &mut packet));
    let md5 = speed(packet.len(), |_| {
        std::hint::black_box(key.mac(&[&packet]));
    });
    let both = 1.0 / (1.0 / blowfish + 1.0 / md5);
    println!("blowfish {:.0} md5 {:.0} both {:.0}", blowfish / 1e6, md5 / 1e6, both / 1e6);
    let schedules = speed(1, |at| {
        std::hint::black_box(Cipher::new(&[at as u8; 16]));
    });
    println!("schedule {:.1} us", 1e6 / schedules);
    let rounds = speed(1, |_| pbkdf2(b"a secret of this length", b"salt", 1_000, &mut [0; 16]));
    println!("pbkdf2 {rounds:.0} rounds a ms");
}
