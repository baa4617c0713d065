//! The threads of a daemon, without which it ends.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::messages::ToControl;
use super::shared::Shared;

/// Starts a thread; if it panics, the daemon ends.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    struct Alarm(Arc<Shared>, &'static str);
    impl Drop for Alarm {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.control.send(ToControl::Died(self.1));
            }
        }
    }
    let alarm = Alarm(Arc::clone(shared), name);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _alarm = alarm;
        run();
    })
}
