//! The kernel half with a thread that collects every record, for tests below the detection path.

use std::{
    process,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rampart_agent::{
    event::{Event, decode::decode},
    kernel::{Incoming, Kernel, KernelConfig, KernelError, RingReader, Waker},
};
use rampart_common::{event::SyscallPlan, wake::CPU_WORDS};

/// Longest wait for a record that a test has provoked.
const PATIENCE: Duration = Duration::from_secs(10);

/// What has come so far.
#[derive(Default)]
struct Seen {
    records: Mutex<Vec<Vec<u8>>>,
    more: Condvar,
}

/// Attached programs and the records they made. Dropping it detaches everything.
pub struct Recorder {
    kernel: Kernel,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Loads and attaches with a ring of `ring_bytes`, watching the given calls.
    pub fn start(ring_bytes: u32, own_pid: u32, wanted: &[(u32, SyscallPlan)]) -> Self {
        let config = KernelConfig { ring_bytes, own_pid, isolated: [0; CPU_WORDS] };
        Self::run(Kernel::load(&config), wanted)
    }

    /// Loads as a kernel without typed pointers does, and attaches.
    pub fn start_untyped(ring_bytes: u32, own_pid: u32, wanted: &[(u32, SyscallPlan)]) -> Self {
        let config = KernelConfig { ring_bytes, own_pid, isolated: [0; CPU_WORDS] };
        Self::run(Kernel::load_untyped(&config), wanted)
    }

    fn run(kernel: Result<Kernel, KernelError>, wanted: &[(u32, SyscallPlan)]) -> Self {
        let mut kernel = match kernel {
            Ok(kernel) => kernel,
            Err(error) => panic!("{error}: {}", error.verifier_log().unwrap_or_default()),
        };
        kernel.set_wanted(wanted).expect("the table of wanted calls is written");
        let reader = kernel.reader().expect("the reader is taken once");
        let waker = reader.waker();
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let (to, flag) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || collect(reader, &to, &flag).expect("the ring can be read"));
        kernel.attach().expect("every program attaches");
        Self { kernel, seen, stop, waker, thread: Some(thread) }
    }

    /// The kernel half.
    pub fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// Waits for a record for which `pick` gives something.
    pub fn wait_for<T>(&self, what: &str, mut pick: impl FnMut(&Event<'_>) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut records = self.seen.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut looked = 0;
        loop {
            for bytes in records.iter().skip(looked) {
                if let Some(found) = pick(&decode(bytes).expect("the kernel side writes whole records")) {
                    return found;
                }
            }
            looked = records.len();
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no record for {what} among {looked} in {PATIENCE:?}");
            records = self.seen.more.wait_timeout(records, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Looks at every record so far.
    pub fn each(&self, mut look: impl FnMut(&Event<'_>)) {
        for bytes in &*self.seen.records.lock().unwrap_or_else(PoisonError::into_inner) {
            look(&decode(bytes).expect("the kernel side writes whole records"));
        }
    }

    /// Stops watching new calls and waits until the ring is empty, so that counters and records can be compared.
    pub fn settle(&mut self) {
        self.kernel.set_wanted(&[]).expect("the table of wanted calls is written");
        let count = || self.seen.records.lock().unwrap_or_else(PoisonError::into_inner).len();
        let mut last = count();
        loop {
            self.waker.wake();
            thread::sleep(Duration::from_millis(50));
            let now = count();
            if now == last {
                return;
            }
            last = now;
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _panicked_already = thread.join();
        }
    }
}

/// This process, for records of its own calls.
pub fn me() -> u32 {
    process::id()
}

/// A path attribute as text.
pub fn path(event: &Event<'_>, tag: rampart_common::event::AttrTag) -> Option<String> {
    let mut out = Vec::new();
    event.path_into(tag, &mut out).then(|| String::from_utf8_lossy(&out).into_owned())
}

/// A text attribute.
pub fn text(event: &Event<'_>, tag: rampart_common::event::AttrTag) -> Option<String> {
    event.attr(tag).map(|attr| String::from_utf8_lossy(attr.bytes).into_owned())
}

fn collect(mut reader: RingReader, seen: &Seen, stop: &AtomicBool) -> Result<(), KernelError> {
    while !stop.load(Ordering::Relaxed) {
        reader.wait(Duration::from_millis(100))?;
        let mut batch = Vec::new();
        reader.drain(&mut |incoming| {
            if let Incoming::Event(record) = incoming {
                batch.push(record.to_vec());
            }
        })?;
        if !batch.is_empty() {
            seen.records.lock().unwrap_or_else(PoisonError::into_inner).append(&mut batch);
            seen.more.notify_all();
        }
    }
    Ok(())
}
