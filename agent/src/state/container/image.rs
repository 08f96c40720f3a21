//! Names of images: `REGISTRY/REPOSITORY:TAG@DIGEST`.

use serde::{Deserialize, Serialize};

/// A name taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageName {
    /// The name as written, without its digest.
    pub name: Option<String>,
    /// Without tag and digest.
    pub repository: Option<String>,
    /// Tag.
    pub tag: Option<String>,
    /// Digest with its algorithm.
    pub digest: Option<String>,
}

impl ImageName {
    /// Takes a name apart. A bare digest or id is no name.
    pub fn parse(text: &str) -> Self {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (text, None),
        };
        if is_digest(name) {
            return Self { digest: Some(name.to_owned()), ..Self::default() };
        }
        if name.is_empty() || is_id(name) {
            return Self { digest, ..Self::default() };
        }
        // A colon before the last slash belongs to the registry's port.
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.to_owned())),
            _ => (name, None),
        };
        Self { name: Some(name.to_owned()), repository: Some(repository.to_owned()), tag, digest }
    }

    /// Fills what is missing from other names of the same image.
    pub fn complete<'n>(&mut self, others: impl IntoIterator<Item = &'n str>) {
        for other in others.into_iter().map(Self::parse) {
            if self.repository.is_none() {
                (self.name, self.repository) = (other.name, other.repository.clone());
                self.tag = self.tag.take().or_else(|| other.tag.clone());
            }
            // The digest of another repository is another manifest.
            if self.digest.is_none() && self.repository == other.repository {
                self.digest = other.digest;
            }
            if self.tag.is_none() && self.repository == other.repository {
                self.tag = other.tag;
            }
        }
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_id)
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::ImageName;

    fn parts(text: &str) -> [Option<String>; 4] {
        let ImageName { name, repository, tag, digest } = ImageName::parse(text);
        [name, repository, tag, digest]
    }

    fn expect(values: [&str; 4]) -> [Option<String>; 4] {
        values.map(|value| (!value.is_empty()).then(|| value.to_owned()))
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(parts("nginx"), expect(["nginx", "nginx", "", ""]));
        assert_eq!(parts("reg:5000/a/b:1.2"), expect(["reg:5000/a/b:1.2", "reg:5000/a/b", "1.2", ""]));
        assert_eq!(parts("reg:5000/a/b"), expect(["reg:5000/a/b", "reg:5000/a/b", "", ""]));
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(parts(&format!("a/b:1@{digest}")), expect(["a/b:1", "a/b", "1", &digest]));
        assert_eq!(parts(&format!("a/b@{digest}")), expect(["a/b", "a/b", "", &digest]));
        assert_eq!(parts(&digest), expect(["", "", "", &digest]));
        assert_eq!(parts(&"a".repeat(64)), expect(["", "", "", ""]));
        assert_eq!(parts(""), expect(["", "", "", ""]));
    }

    #[test]
    fn other_names_fill_the_gaps() {
        let digest = |fill: &str| format!("sha256:{}", fill.repeat(64));
        let mut image = ImageName::parse("a/b");
        let others = [format!("x/y@{}", digest("1")), format!("a/b@{}", digest("2")), "a/b:7".to_owned()];
        image.complete(others.iter().map(String::as_str));
        assert_eq!((image.digest, image.tag.as_deref()), (Some(digest("2")), Some("7")));
        let mut image = ImageName::default();
        image.complete(["q:1", "r:2"]);
        assert_eq!((image.name.as_deref(), image.tag.as_deref()), (Some("q:1"), Some("1")));
    }
}
