//! A program as a case describes it, put in place as a file and started under its names.
//!
//! Every program is this one: a link with the wanted path, reached through a symbolic link with the wanted name,
//! started with the wanted first argument. That gives a rule the executable's path, the process's name and its
//! first argument independently, as Falco's own generator does.

use std::{
    fs,
    io::{Seek, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::symlink, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::{
    capability,
    fields::Fields,
    script::Script,
    sys::{self, Identity},
};

/// Where programs are looked for by the scripts of a case.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Name of a program that has none, and of the memory one without a file runs from.
pub(crate) const DEFAULT_NAME: &str = "event-generator";

/// A program to be started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    path: Option<PathBuf>,
    name: Option<String>,
    first: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    user: Option<String>,
    capabilities: Option<String>,
    fileless: bool,
    /// Leads a session with a terminal of its own.
    terminal: bool,
}

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) child: Child,
    /// The other end of its terminal, whose end would end it.
    _terminal: Option<OwnedFd>,
}

impl Program {
    /// Reads a program; `name` is the key of its process's name.
    pub(crate) fn read(fields: &mut Fields, name: &str) -> Result<Self> {
        Ok(Self {
            path: fields.text("exePath")?.map(PathBuf::from),
            name: fields.text(name)?,
            first: fields.text("exe")?,
            arguments: split(&fields.text("args")?.unwrap_or_default()),
            environment: fields.texts("env")?,
            user: fields.text("user")?,
            capabilities: fields.text("capabilities")?,
            fileless: fields.flag("fileLess")?,
            terminal: fields.flag("terminal")?,
        })
    }

    /// The generator itself, which acts when a case names no process.
    pub(crate) fn generator() -> Self {
        Self { name: Some(DEFAULT_NAME.to_owned()), ..Self::default() }
    }

    /// Puts its executable in place. `folder` is the case's own and `index` tells its programs apart.
    pub(crate) fn install(&self, folder: &Path, index: &str) -> Result<()> {
        let (file, link) = self.places(folder, index)?;
        if !self.fileless {
            let own = fs::read_link("/proc/self/exe").context("cannot find this program's own file")?;
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent).with_context(|| format!("cannot make `{}`", parent.display()))?;
            }
            remove(&file)?;
            // Another file system needs a copy.
            if fs::hard_link(&own, &file).is_err() {
                fs::copy(&own, &file).with_context(|| format!("cannot make `{}`", file.display()))?;
            }
            if link != file {
                remove(&link)?;
                symlink(&file, &link).with_context(|| format!("cannot link `{}`", link.display()))?;
            }
        }
        Ok(())
    }

    /// Removes what [`Program::install`] made.
    pub(crate) fn remove(&self, folder: &Path, index: &str) {
        if let Ok((file, link)) = self.places(folder, index) {
            // What is left is in a file system that goes away.
            drop(remove(&file));
            drop(remove(&link));
        }
    }

    /// Starts it with its script; `ready` makes its standard output a pipe.
    pub(crate) fn start(&self, folder: &Path, index: &str, script: &Script, ready: bool) -> Result<Started> {
        let (_, mut link) = self.places(folder, index)?;
        // Open until the child has replaced itself.
        let mut memory = None;
        if self.fileless {
            let image = memory.insert(image()?);
            let target = format!("/proc/self/fd/{}", image.as_raw_fd());
            link = folder.join(format!("{index}-{}", std::process::id())).join(self.base_name(index));
            if let Some(parent) = link.parent() {
                fs::create_dir_all(parent)?;
            }
            remove(&link)?;
            symlink(target, &link).with_context(|| format!("cannot link `{}`", link.display()))?;
        }
        let mut command = Command::new(&link);
        command.arg0(self.first.clone().unwrap_or_else(|| self.base_name(index))).args(&self.arguments);
        command.env_clear().env("PATH", SEARCH).envs(self.environment.iter().cloned());
        command.current_dir("/").stdin(Stdio::null());
        command.stdout(if ready { Stdio::piped() } else { Stdio::null() });
        let terminal =
            if self.terminal { Some(sys::terminal().context("cannot make a terminal")?) } else { None };
        let end = terminal.as_ref().map(|(_, end)| end.as_raw_fd());
        sys::prepare(&mut command, Some(script.descriptor()), end, self.identity()?);
        let child = command.spawn().with_context(|| format!("cannot start `{}`", link.display()))?;
        drop(memory);
        Ok(Started { child, _terminal: terminal.map(|(other, _)| other) })
    }

    /// The capabilities it is to end up with, if the case says so.
    pub(crate) fn sets(&self) -> Result<Option<capability::Sets>> {
        self.capabilities.as_deref().map(|text| capability::parse(text, capability::own()?)).transpose()
    }

    /// Its executable, and the path it is started by.
    fn places(&self, folder: &Path, index: &str) -> Result<(PathBuf, PathBuf)> {
        let file = self.path.clone().unwrap_or_else(|| folder.join(format!("{DEFAULT_NAME}{index}")));
        if !file.is_absolute() || file.file_name().is_none() {
            bail!("`{}` is no absolute path of a file", file.display());
        }
        let Some(name) = &self.name else { return Ok((file.clone(), file)) };
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            bail!("`{name}` cannot be the name of a process");
        }
        let link = file.with_file_name(name);
        Ok((file, link))
    }

    fn base_name(&self, index: &str) -> String {
        let path = self.path.as_deref().and_then(Path::file_name);
        let path = path.map(|name| name.to_string_lossy().into_owned());
        self.name.clone().or(path).unwrap_or_else(|| format!("{DEFAULT_NAME}{index}"))
    }

    fn identity(&self) -> Result<Identity> {
        let ids = self.user.as_deref().map(ids).transpose()?;
        let stays_root = ids.is_none_or(|(user, _)| user == 0) && self.capabilities.is_none();
        let all = capability::own()?;
        let text = self.capabilities.as_deref().unwrap_or("all=iep");
        let capabilities = if stays_root { None } else { Some(capability::parse(text, all)?) };
        Ok(Identity { ids, capabilities })
    }
}

/// A copy of this program in memory.
fn image() -> Result<OwnedFd> {
    let memory = memfd_create(DEFAULT_NAME, MFdFlags::MFD_CLOEXEC).context("cannot make a memory file")?;
    let mut file = fs::File::from(memory);
    file.write_all(&fs::read("/proc/self/exe").context("cannot read this program's own file")?)?;
    file.rewind()?;
    Ok(file.into())
}

/// User and group of a name; a number stands for itself.
fn ids(name: &str) -> Result<(u32, u32)> {
    if let Ok(number) = name.parse() {
        return Ok((number, number));
    }
    let text = fs::read_to_string("/etc/passwd").context("cannot read `/etc/passwd`")?;
    let entry = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = entry.into_iter().find_map(|fields| match fields.as_slice() {
        [user, _, uid, gid, ..] if *user == name => Some((uid.parse().ok()?, gid.parse().ok()?)),
        _ => None,
    });
    found.with_context(|| format!("there is no user `{name}`"))
}

/// Words of a command line; quotes keep one together.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = matches!(first, '"' | '\'').then(|| rest.get(1..)?.split_once(first)).flatten();
        let (word, after) = match quoted.filter(|(word, _)| !word.is_empty()) {
            Some(found) => found,
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot replace `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(split("-c  'a b' \"c d\" e"), ["-c", "a b", "c d", "e"]);
        assert_eq!(split("it's \"\" 'x"), ["it's", "\"\"", "'x"]);
        assert!(split("  ").is_empty());
    }

    #[test]
    fn a_program_is_a_file_and_a_name() {
        let program = Program { name: Some("bash".into()), ..Program::default() };
        let (file, link) = program.places(Path::new("/tmp/case"), "0").unwrap();
        assert_eq!(file, Path::new("/tmp/case/event-generator0"));
        assert_eq!(link, Path::new("/tmp/case/bash"));
        let program = Program { path: Some("/usr/bin/x".into()), ..Program::default() };
        assert_eq!(program.places(Path::new("/tmp"), "0").unwrap().1, Path::new("/usr/bin/x"));
        assert_eq!(program.base_name("0"), "x");
        for name in ["", "a/b", ".."] {
            let program = Program { name: Some(name.into()), ..Program::default() };
            assert!(program.places(Path::new("/tmp"), "0").is_err(), "{name}");
        }
    }

    #[test]
    fn users_are_names_or_numbers() {
        assert_eq!(ids("root").unwrap(), (0, 0));
        assert_eq!(ids("1234").unwrap(), (1234, 1234));
        assert!(ids("nobody of that name").is_err());
    }
}
