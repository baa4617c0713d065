//! The daemon: `makuosan`.

pub mod clock;

/// Runs the daemon and returns its exit status.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
