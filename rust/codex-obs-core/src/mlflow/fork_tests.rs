//! What a fork waits for, and what not.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::MlflowSettings;
use super::fault_tests::LONG;
use super::scripted::{Action, Server, fine};
use crate::clock::Clock;
use crate::deliver::context::Context;
use crate::deliver::settings::DeliverySettings;
use crate::deliver::thread::DeliveryThread;
use crate::follow::progress::lock_path;
use crate::paths::Stream;
use crate::session::{Session, Settings};

/// More than anything here takes, were the machine ever so busy.
const PATIENCE: Duration = Duration::from_secs(30);

fn exporter_address(server: &Server) -> String {
    format!("mlflow http://{}", server.address())
}

/// An exporter of the run in `directory`.
fn exporter(directory: &Path, server: &Server) -> DeliveryThread {
    let mut mlflow = MlflowSettings::new(&format!("http://{}", server.address()), &|_| None).unwrap();
    mlflow.limits.timeout = LONG;
    let context = Context {
        directory: directory.to_owned(),
        stream: Stream::main(),
        settings: DeliverySettings::new(mlflow.connector()),
        file_mode: 0o600,
        clock: Clock::System,
        stats: Arc::default(),
        warnings: Arc::default(),
        notes: Arc::default(),
        hold: None,
        telemetry_hold: None,
        live: None,
        is_live: true,
        ended: None,
        leads: true,
        lock: Arc::default(),
    };
    let destination = context.connect().unwrap();
    DeliveryThread::new(context, destination)
}

#[test]
fn a_fork_does_not_wait_for_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Session::open(folder.path(), Some("r1"), None, Settings::default()).unwrap().close(None));
    let (asks, asked) = channel();
    let server = Server::start(move |_, _| {
        let _ = asks.send(());
        Action::Hold
    });
    let exporter = Arc::new(exporter(folder.path(), &server));
    assert!(exporter.start());
    asked.recv_timeout(PATIENCE).unwrap();
    let (sender, forked) = channel();
    std::thread::spawn({
        let exporter = Arc::clone(&exporter);
        move || {
            exporter.halt();
            exporter.wait_home(LONG);
            let _ = sender.send(());
        }
    });
    forked.recv_timeout(PATIENCE).expect("it waits for the server");
}

#[test]
fn an_exporter_that_goes_during_a_fork_leaves_no_thread_behind() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Session::open(folder.path(), Some("r1"), None, Settings::default()).unwrap().close(None));
    let (asks, asked) = channel();
    let (answer, answers) = channel();
    let server = Server::start(move |_, _| {
        let _ = asks.send(());
        let _ = answers.recv_timeout(PATIENCE);
        fine()
    });
    let exporter = exporter(folder.path(), &server);
    assert!(exporter.start());
    asked.recv_timeout(PATIENCE).unwrap();
    let lock = lock_path(folder.path(), &Stream::main(), &exporter_address(&server));
    assert!(lock.exists());
    exporter.halt();
    exporter.wait_home(LONG);
    drop(exporter);
    answer.send(()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while lock.exists() {
        assert!(Instant::now() < deadline, "it waits for ever");
        std::thread::yield_now();
    }
}

#[test]
fn an_answer_that_comes_during_a_fork_is_made_use_of_after_it() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Session::open(folder.path(), Some("r1"), None, Settings::default()).unwrap().close(None));
    let (asks, asked) = channel();
    let (answer, answers) = channel();
    let server = Server::start(move |_, request| {
        let _ = asks.send(request.path().to_owned());
        let _ = answers.recv_timeout(PATIENCE);
        fine()
    });
    let exporter = exporter(folder.path(), &server);
    assert!(exporter.start());
    assert!(asked.recv_timeout(PATIENCE).unwrap().ends_with("runs/search"));
    for _ in 0..3 {
        exporter.halt();
        exporter.wait_home(LONG);
        exporter.release();
    }
    exporter.halt();
    exporter.wait_home(LONG);
    answer.send(()).unwrap();
    assert!(asked.recv_timeout(Duration::from_millis(20)).is_err());
    exporter.release();
    assert!(asked.recv_timeout(PATIENCE).unwrap().ends_with("runs/create"));
}
