//! A process image: what exec put in place. Shared by a process and the children that only forked from it.

use rampart_common::event::{AttrTag, EXEC_WRITABLE, FileFacts, UsageFacts};

use crate::event::{Event, until_nul};

/// Bytes of environment kept per image, as much as the kernel side sends.
pub const ENV_MAX_BYTES: usize = 4096;

/// What a process runs. Immutable once built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    comm: [u8; 16],
    argv: Box<[u8]>,
    env: Box<[u8]>,
    exe_path: Box<[u8]>,
    cmdline: Box<[u8]>,
    /// The executable file.
    pub file: Option<FileFacts>,
    /// Whether the user who runs it may write the executable.
    pub writable: bool,
    /// Time of the exec, nanoseconds of the boot clock; 0 when it was before the agent.
    pub exec_ns: u64,
    /// What the process used right after the exec.
    pub usage: Option<UsageFacts>,
    /// Whether it is known from exec or from `/proc`, or only guessed from a record's header.
    pub known: bool,
}

impl Image {
    /// An image of which only the name is known.
    pub fn named(comm: [u8; 16]) -> Self {
        Self { comm, cmdline: until_nul(&comm).into(), ..Self::default() }
    }

    /// An image from its parts; `argv` and `env` hold NUL-ended strings.
    pub fn new(comm: [u8; 16], argv: &[u8], env: &[u8], exe_path: &[u8]) -> Self {
        let env = env.get(..ENV_MAX_BYTES).unwrap_or(env);
        let mut cmdline = until_nul(&comm).to_vec();
        for arg in strings(argv).skip(1) {
            cmdline.push(b' ');
            cmdline.extend_from_slice(arg);
        }
        Self {
            comm,
            argv: argv.into(),
            env: env.into(),
            exe_path: exe_path.into(),
            cmdline: cmdline.into(),
            known: true,
            ..Self::default()
        }
    }

    /// The image of an exec record.
    pub fn from_exec(event: &Event<'_>) -> Self {
        let bytes = |tag| event.attr(tag).map_or(&[][..], |attr| attr.bytes);
        let mut exe_path = Vec::new();
        event.path_into(AttrTag::ExePath, &mut exe_path);
        let mut image =
            Self::new(event.header.task.comm, bytes(AttrTag::Argv), bytes(AttrTag::Envp), &exe_path);
        image.file = event.file();
        image.writable = event.exec().is_some_and(|exec| exec.flags & EXEC_WRITABLE != 0);
        image.exec_ns = event.header.time_ns;
        image.usage = event.usage();
        image
    }

    /// Thread name the kernel gave at exec; later renames do not show.
    pub fn comm(&self) -> &[u8] {
        until_nul(&self.comm)
    }

    /// First argument.
    pub fn exe(&self) -> Option<&[u8]> {
        strings(&self.argv).next()
    }

    /// Path of the executable file; `None` when it could not be read.
    pub fn exe_path(&self) -> Option<&[u8]> {
        Some(&*self.exe_path).filter(|path| !path.is_empty())
    }

    /// Arguments after the first, joined by blanks; empty when there are none.
    pub fn args(&self) -> &[u8] {
        self.cmdline.get(self.comm().len() + 1..).unwrap_or_default()
    }

    /// Arguments after the first.
    pub fn arg_list(&self) -> impl Iterator<Item = &[u8]> {
        strings(&self.argv).skip(1)
    }

    /// Name and arguments, joined by blanks.
    pub fn cmdline(&self) -> &[u8] {
        &self.cmdline
    }

    /// Thread name as the kernel keeps it.
    pub(super) const fn comm_padded(&self) -> [u8; 16] {
        self.comm
    }

    /// All environment variables, NUL-ended.
    pub(super) fn env_block(&self) -> &[u8] {
        &self.env
    }

    /// All arguments, NUL-ended.
    pub fn argv(&self) -> &[u8] {
        &self.argv
    }

    /// Environment variables.
    pub fn env(&self) -> impl Iterator<Item = &[u8]> {
        strings(&self.env)
    }

    /// Value of an environment variable.
    pub fn env_value(&self, name: &[u8]) -> Option<&[u8]> {
        self.env().find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
    }
}

/// The strings of a NUL-ended sequence.
pub fn strings(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    // An empty body behind a NUL is one empty string; without it there is none.
    (!bytes.is_empty()).then_some(body).into_iter().flat_map(|body| body.split(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::{ENV_MAX_BYTES, Image, strings};

    fn comm(name: &str) -> [u8; 16] {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name.as_bytes());
        comm
    }

    #[test]
    fn command_lines_show_the_name_and_skip_the_first_argument() {
        let image = Image::new(comm("sh"), b"/bin/sh\0-c\0id; ls\0", b"HOME=/root\0A=\0", b"/usr/bin/dash");
        assert_eq!(image.cmdline(), b"sh -c id; ls");
        assert_eq!((image.exe(), image.args()), (Some(&b"/bin/sh"[..]), &b"-c id; ls"[..]));
        assert_eq!(image.env_value(b"HOME"), Some(&b"/root"[..]));
        assert_eq!((image.env_value(b"A"), image.env_value(b"HOM")), (Some(&b""[..]), None));
        assert_eq!(image.arg_list().count(), 2);
    }

    #[test]
    fn no_and_empty_arguments_differ() {
        let none = Image::new(comm("x"), b"", b"", b"");
        assert_eq!((none.exe(), none.args(), none.cmdline()), (None, &b""[..], &b"x"[..]));
        assert_eq!(none.exe_path(), None);
        let empty = Image::new(comm("x"), b"\0\0", b"", b"");
        assert_eq!((empty.exe(), empty.cmdline()), (Some(&b""[..]), &b"x "[..]));
        assert_eq!(strings(b"\0").count(), 1);
    }

    #[test]
    fn the_environment_is_bounded() {
        let image = Image::new(comm("x"), b"x\0", &[b'a'; 2 * ENV_MAX_BYTES], b"");
        assert_eq!(image.env().map(<[u8]>::len).sum::<usize>(), ENV_MAX_BYTES);
    }
}
