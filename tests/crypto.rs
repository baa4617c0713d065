//! Counter mode and PBKDF2 beside implementations that are not ours, asked while the test runs:
//! OpenSSL's Blowfish, Python's `hashlib`. Where one is missing its test says so and is skipped.

use std::io::Write as _;
use std::process::{Command, Stdio};

use makuosan::crypto::{Cipher, pbkdf2};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What a command that succeeds has on its standard output.
fn run(command: &mut Command, input: &[u8]) -> Option<Vec<u8>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take()?;
    // The input fits a pipe; a program that has ended does not read it.
    let _ = stdin.write_all(input);
    drop(stdin);
    let out = child.wait_with_output().ok()?;
    out.status.success().then_some(out.stdout)
}

/// Blocks encrypted one by one by OpenSSL's Blowfish; None where there is none.
fn openssl(key: &[u8], blocks: &[u8]) -> Option<Vec<u8>> {
    let enc = |providers: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["enc", "-e", "-bf-ecb", "-nopad", "-K", &hex(key)]).args(providers);
        run(&mut command, blocks)
    };
    // Version 3 has Blowfish among what is no longer recommended; before it there are no providers.
    enc(&["-provider", "legacy", "-provider", "default"]).or_else(|| enc(&[]))
}

#[test]
fn counter_mode_is_openssls_blowfish_over_the_counters() {
    let key: [u8; 16] = std::array::from_fn(|i| (i * 29 + 7) as u8);
    let cases: [(u64, u64); 4] =
        [(0, 8), (1, 1_424), (0x1234_5678_9abc, 8_192), ((1 << 48) - 1, 600)];
    for (number, length) in cases {
        let blocks: Vec<u8> =
            (0..length / 8).flat_map(|at| ((number << 16) + at).to_be_bytes()).collect();
        let Some(expected) = openssl(&key, &blocks) else {
            eprintln!("SKIPPED: there is no openssl with Blowfish");
            return;
        };
        let mut stream = vec![0; length as usize];
        Cipher::new(&key).apply(number, &mut stream);
        assert_eq!(hex(&stream), hex(&expected), "{number} {length}");
    }
}

#[test]
fn pbkdf2_is_pythons() {
    let long = "x".repeat(100);
    let cases = [
        ("password", "salt", 1, 16),
        ("password", "salt", 2, 20),
        ("passwordPASSWORDpassword", "saltSALTsaltSALTsaltSALTsaltSALTsalt", 4_096, 40),
        (&long, "", 3, 15),
        ("", "makuosan", 1_000, 1),
    ];
    for (password, salt, rounds, length) in cases {
        let code = format!(
            "import hashlib; print(hashlib.pbkdf2_hmac('md5', b'{password}', b'{salt}', {rounds}, \
             {length}).hex())"
        );
        let Some(expected) = run(Command::new("python3").args(["-c", &code]), &[]) else {
            eprintln!("SKIPPED: there is no python3 with hashlib");
            return;
        };
        let mut out = vec![0; length];
        pbkdf2(password.as_bytes(), salt.as_bytes(), rounds, &mut out);
        let expected = String::from_utf8(expected).unwrap();
        assert_eq!(hex(&out), expected.trim(), "{password} {salt} {rounds} {length}");
    }
}
