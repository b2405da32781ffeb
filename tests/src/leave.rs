//! Cleans up when a program that uses this crate outside of a test runner (the demo, a benchmark) ends.

use std::{panic, process, thread};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::{disk, process as processes, room};

/// The exit status of shells for a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// From now on, all child processes and files are removed when this program ends by Ctrl-C, SIGTERM, or a panic, which
/// aborts without dropping anything in this workspace's profiles.
pub fn leave_nothing_behind() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        print(panic);
        clean_up();
        process::exit(1);
    }));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut interrupt, mut terminate) = runtime.block_on(async {
        (
            signal(SignalKind::interrupt()).expect("a handler"),
            signal(SignalKind::terminate()).expect("a handler"),
        )
    });
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        clean_up();
        process::exit(INTERRUPTED);
    });
}

fn clean_up() {
    processes::kill_all();
    disk::unmount_all();
    room::remove_all();
}
