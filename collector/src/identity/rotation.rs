//! How one authority of our own follows another without a node left out.
//!
//! ```text
//! ca next      ca.pem signs                   ca-next.pem is trusted by us, and told to agents as they renew
//! ca switch    ca.pem (was next) signs        ca-old.pem, a certificate without its key, is trusted
//! ca finish    ca.pem signs                   nothing else is trusted
//! ```
//!
//! Each step is seen by a collector when it starts. What agents were told is noted with their certificates, so it can be
//! said which nodes a step would leave out. A token to join with names one authority and is of no use after `switch`.
//! Called by `cli`; `authority` reads the files.

use std::{collections::BTreeMap, fs, io, path::Path};

use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{
    IdentityError,
    authority::{fault, make, write_once},
    items::{self, Certificate},
    pem, sha256,
};
use crate::store::identity::{Book, Kind};

/// The authority that signs, the one that comes after it, and the certificate of the one before.
const CURRENT: &str = "ca.pem";
const NEXT: &str = "ca-next.pem";
const OLD: &str = "ca-old.pem";
/// What is trusted besides the one that signs.
pub(super) const FILES: [&str; 2] = [NEXT, OLD];

/// What the nodes were told that have a certificate now, by their newest.
#[derive(Debug)]
pub struct Nodes(BTreeMap<String, Certificate>);

impl Nodes {
    /// What the book says.
    pub fn load(book: &mut dyn Book, now_ns: u64) -> Result<Self, IdentityError> {
        let mut newest: BTreeMap<String, Certificate> = BTreeMap::new();
        for (_, one) in items::list::<Certificate>(book, Kind::Certificate)? {
            if one.ends_ns > now_ns
                && newest.get(&one.node).is_none_or(|kept| kept.created_ns < one.created_ns)
            {
                newest.insert(one.node.clone(), one);
            }
        }
        Ok(Self(newest))
    }

    /// Those that do not know an authority.
    pub fn without(&self, authority: &str) -> Vec<String> {
        let knows = |one: &Certificate| one.told.iter().any(|told| told == authority);
        self.0.values().filter(|one| !knows(one)).map(|one| one.node.clone()).collect()
    }

    /// Those whose certificate another authority has signed.
    pub fn of_others(&self, authority: &str) -> Vec<String> {
        let is_of = |one: &Certificate| one.told.first().is_some_and(|signer| signer == authority);
        self.0.values().filter(|one| !is_of(one)).map(|one| one.node.clone()).collect()
    }
}

/// Makes the authority that comes next; gives its hash.
pub fn next(dir: &Path) -> Result<[u8; 32], IdentityError> {
    for (name, problem) in [
        (OLD, "is there: the step before is not over, `ca finish` ends it"),
        (NEXT, "is there already: `ca switch` lets it sign"),
    ] {
        if exists(&dir.join(name))? {
            return Err(IdentityError::Unusable { path: dir.join(name), problem });
        }
    }
    make(&dir.join(NEXT))?;
    waiting(dir)
}

/// Hash of the authority that comes next.
pub fn waiting(dir: &Path) -> Result<[u8; 32], IdentityError> {
    let path = dir.join(NEXT);
    if !exists(&path)? {
        return Err(IdentityError::Unusable { path, problem: "is not there: `ca next` makes it" });
    }
    certificate(&path).map(|certificate| sha256(&certificate))
}

/// Lets it sign. The old key is gone with that; done again, it ends what was begun.
pub fn switch(dir: &Path) -> Result<(), IdentityError> {
    waiting(dir)?;
    let (current, next, old) = (dir.join(CURRENT), dir.join(NEXT), dir.join(OLD));
    let before = pem(&certificate(&current)?);
    if !write_once(&old, &before)? && read(&old)? != before {
        let problem = "is there: the step before is not over, `ca finish` ends it";
        return Err(IdentityError::Unusable { path: old, problem });
    }
    fs::rename(&next, &current).map_err(fault("rename", &next))?;
    sync(dir)
}

/// Trusts the authority before no longer.
pub fn finish(dir: &Path) -> Result<(), IdentityError> {
    let (next, old) = (dir.join(NEXT), dir.join(OLD));
    if exists(&next)? {
        return Err(IdentityError::Unusable { path: next, problem: "is there: `ca switch` comes first" });
    }
    if !exists(&old)? {
        return Err(IdentityError::Unusable { path: old, problem: "is not there: there is nothing to end" });
    }
    fs::remove_file(&old).map_err(fault("remove", &old))?;
    sync(dir)
}

fn exists(path: &Path) -> Result<bool, IdentityError> {
    path.try_exists().map_err(fault("look for", path))
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(fault("read", path))
}

fn certificate(path: &Path) -> Result<CertificateDer<'static>, IdentityError> {
    CertificateDer::from_pem_slice(read(path)?.as_bytes())
        .map_err(|_| IdentityError::Unusable { path: path.to_owned(), problem: "holds no certificate" })
}

/// A rename is on the disk when its directory is.
fn sync(dir: &Path) -> Result<(), IdentityError> {
    let synced = || -> io::Result<()> { fs::File::open(dir)?.sync_all() };
    synced().map_err(fault("write", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::authority::{Authority, Source};

    fn trusted(dir: &Path) -> Vec<[u8; 32]> {
        let authority = Authority::open(&Source::BuiltIn(dir.to_owned())).unwrap();
        assert_eq!(authority.trusted().next().map(|one| sha256(one)), Some(authority.fingerprint()));
        authority.trusted().map(|one| sha256(one)).collect()
    }

    #[test]
    fn only_authorities_are_trusted_besides() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| Authority::open(&Source::BuiltIn(dir.path().join(name))).unwrap();
        let (own, other) = (open("own"), open("other"));
        let file = dir.path().join("trusted.pem");
        // Itself is in it as well, and once is enough.
        let both = format!("{0}{1}{1}", pem(own.certificate()), pem(other.certificate()));
        fs::write(&file, both).unwrap();
        let trusted = own.trusting(Some(&file)).unwrap();
        let hashes: Vec<_> = trusted.trusted().map(|one| sha256(one)).collect();
        assert_eq!(hashes, [trusted.fingerprint(), other.fingerprint()]);
        let leaf = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        for (text, problem) in [(leaf.cert.pem(), "not an authority's"), (String::new(), "no certificate")] {
            fs::write(&file, text).unwrap();
            let error = open("own").trusting(Some(&file)).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
        }
    }

    #[test]
    fn one_authority_follows_another_and_both_are_trusted_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let [first] = trusted(at)[..] else { panic!("one") };
        for refused in [waiting(at).map(drop), switch(at), finish(at)] {
            assert!(refused.unwrap_err().to_string().contains("is not there"));
        }
        let second = next(at).unwrap();
        assert_eq!(trusted(at), [first, second]);
        assert!(next(at).unwrap_err().to_string().contains("`ca switch`"));
        assert!(finish(at).unwrap_err().to_string().contains("comes first"));
        let secret = fs::read_to_string(at.join(CURRENT)).unwrap();
        let secret = secret.split("-----BEGIN PRIVATE KEY-----").nth(1).unwrap().to_owned();
        // Killed half way, it is done again.
        assert!(write_once(&at.join(OLD), &pem(&certificate(&at.join(CURRENT)).unwrap())).unwrap());
        assert_eq!(trusted(at), [first, second]);
        switch(at).unwrap();
        assert_eq!(trusted(at), [second, first]);
        for entry in fs::read_dir(at).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!text.contains(&secret), "the old key is gone");
        }
        assert!(next(at).unwrap_err().to_string().contains("`ca finish`"));
        finish(at).unwrap();
        assert_eq!(trusted(at), [second]);
        assert!(finish(at).is_err());
    }
}
