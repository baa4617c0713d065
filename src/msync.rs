//! msync

/// Runs the client and returns its exit status.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
