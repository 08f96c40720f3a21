use std::{
    fs::File,
    io::{Read, pipe},
    os::fd::OwnedFd,
    thread,
};

use super::*;

struct Line(&'static str);

impl Message for Line {
    fn append(&self, format: Format, out: &mut Vec<u8>) {
        out.extend_from_slice(format.name().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.0.as_bytes());
    }
}

fn line(text: &'static str) -> Arc<dyn Message> {
    Arc::new(Line(text))
}

fn queue(size: usize) -> NonZeroUsize {
    NonZeroUsize::new(size).unwrap()
}

fn run(workers: Vec<Worker>) -> Vec<thread::JoinHandle<()>> {
    workers.into_iter().map(|worker| thread::spawn(move || worker.run())).collect()
}

#[test]
fn every_output_gets_every_line_in_its_own_form() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts");
    let (mut reader, writer) = pipe().unwrap();
    let outputs: Vec<Box<dyn Output>> = vec![
        Box::new(stdout::Stdout::over(File::from(OwnedFd::from(writer)), Format::Text)),
        Box::new(file::AppendFile::new(path.clone(), Format::Json)),
    ];
    let (fanout, workers) = build(outputs, queue(16)).unwrap();
    let tallies = fanout.tallies();
    let threads = run(workers);
    fanout.send(&line("one"));
    fanout.send(&line("two"));
    drop(fanout);
    for thread in threads {
        thread.join().unwrap();
    }
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "text one\ntext two\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "json one\njson two\n");
    let written: Vec<_> =
        tallies.read().iter().map(|tally| (tally.name, tally.written, tally.failing)).collect();
    assert_eq!(written, [("stdout", 2, false), ("file", 2, false)]);
}

#[test]
fn a_full_queue_drops_the_newest_and_counts() {
    let (_reader, writer) = pipe().unwrap();
    let outputs: Vec<Box<dyn Output>> =
        vec![Box::new(stdout::Stdout::over(File::from(OwnedFd::from(writer)), Format::Text))];
    // The workers are not run: nothing leaves the queue.
    let (fanout, _workers) = build(outputs, queue(2)).unwrap();
    for _ in 0..5 {
        fanout.send(&line("x"));
    }
    assert_eq!(fanout.tallies().read()[0].dropped_full, 3);
}

#[test]
fn a_closed_pipe_is_counted_and_the_other_output_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts");
    let (reader, writer) = pipe().unwrap();
    let outputs: Vec<Box<dyn Output>> = vec![
        Box::new(stdout::Stdout::over(File::from(OwnedFd::from(writer)), Format::Text)),
        Box::new(file::AppendFile::new(path.clone(), Format::Text)),
    ];
    let (fanout, workers) = build(outputs, queue(16)).unwrap();
    drop(reader);
    let threads = run(workers);
    for _ in 0..3 {
        fanout.send(&line("x"));
    }
    let tallies = fanout.tallies();
    // There is nothing to reopen about a closed pipe: it goes on failing.
    fanout.reopen();
    drop(fanout);
    for thread in threads {
        thread.join().unwrap();
    }
    let [stdout, file] = tallies.read().try_into().unwrap();
    assert_eq!((stdout.written, stdout.dropped_failed, stdout.failing), (0, 3, true));
    assert_eq!((file.written, file.dropped_failed), (3, 0));
}

#[test]
fn a_full_disk_is_counted_and_a_reopened_file_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alerts");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let outputs: Vec<Box<dyn Output>> = vec![Box::new(file::AppendFile::new(path.clone(), Format::Text))];
    let (fanout, mut workers) = build(outputs, queue(16)).unwrap();
    let worker = workers.remove(0);
    let tallies = fanout.tallies();
    let thread = thread::spawn(move || worker.run());
    fanout.send(&line("lost"));
    while tallies.read()[0].dropped_failed == 0 {
        thread::yield_now();
    }
    assert!(tallies.read()[0].failing);
    std::fs::remove_file(&path).unwrap();
    fanout.reopen();
    fanout.send(&line("kept"));
    drop(fanout);
    thread.join().unwrap();
    let [tally] = tallies.read().try_into().unwrap();
    assert_eq!((tally.written, tally.dropped_failed, tally.failing), (1, 1, false));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "text kept\n");
}

#[test]
fn when_every_output_is_dead_the_start_is_refused() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let outputs: Vec<Box<dyn Output>> = vec![
        Box::new(stdout::Stdout::over(File::from(OwnedFd::from(writer)), Format::Text)),
        Box::new(file::AppendFile::new("/nonexistent/dir/alerts".into(), Format::Text)),
    ];
    let error = build(outputs, queue(1)).err().unwrap();
    assert_eq!(
        error.to_string(),
        "no output can be written: standard output is closed, nobody reads it; \
         cannot open `/nonexistent/dir/alerts`: No such file or directory (os error 2)"
    );
}
