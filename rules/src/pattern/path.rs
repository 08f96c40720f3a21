//! Path prefixes by component, for `pmatch`.

use std::collections::HashMap;

use super::Glob;

/// A tree of path components; a path matches when a stored path is a prefix of it, component by component.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathPrefixes {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// A stored path ends here.
    end: bool,
    /// Components without wildcards.
    plain: HashMap<Box<[u8]>, usize>,
    /// Components with wildcards.
    globs: Vec<(Glob, usize)>,
}

impl PathPrefixes {
    /// Builds the tree.
    pub(crate) fn new<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut tree = Self { nodes: vec![Node::default()] };
        for path in paths {
            let mut at = 0;
            for component in components(path) {
                at = tree.child(at, component);
            }
            if let Some(node) = tree.nodes.get_mut(at) {
                node.end = true;
            }
        }
        tree
    }

    /// Whether a stored path is a prefix of `path`.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        self.below(0, path)
    }

    fn below(&self, at: usize, rest: &[u8]) -> bool {
        let Some(node) = self.nodes.get(at) else { return false };
        if node.end {
            return true;
        }
        let Some((component, rest)) = next_component(rest) else { return false };
        if node.plain.get(component).is_some_and(|&child| self.below(child, rest)) {
            return true;
        }
        node.globs.iter().any(|(glob, child)| glob.matches(component) && self.below(*child, rest))
    }

    fn child(&mut self, at: usize, component: &[u8]) -> usize {
        let fresh = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        let glob = Glob::new(component, false);
        let child = if let Some(plain) = glob.literal() {
            *node.plain.entry(plain.into_boxed_slice()).or_insert(fresh)
        } else if let Some(&(_, child)) = node.globs.iter().find(|(known, _)| *known == glob) {
            child
        } else {
            node.globs.push((glob, fresh));
            fresh
        };
        if child == fresh {
            self.nodes.push(Node::default());
        }
        child
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
}

fn next_component(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = path.iter().position(|&byte| byte != b'/')?;
    let path = path.get(start..)?;
    let end = path.iter().position(|&byte| byte == b'/').unwrap_or(path.len());
    Some((path.get(..end)?, path.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(paths: &[&str], path: &str) -> bool {
        PathPrefixes::new(paths.iter().map(|path| path.as_bytes())).matches(path.as_bytes())
    }

    #[test]
    fn prefixes_end_at_components() {
        assert!(matches(&["/opt/dir"], "/opt/dir/file"));
        assert!(matches(&["/opt/dir/"], "/opt/dir"));
        assert!(!matches(&["/opt/di"], "/opt/dir/file"));
        assert!(!matches(&["/opt/dir/sub"], "/opt/dir"));
        assert!(matches(&["/"], "/one/two"));
        assert!(!matches(&[], "/one"));
        assert!(matches(&["/opt/*/sub", "/opt/a/b"], "/opt/a/sub/x"));
        assert!(!matches(&["/opt/di[!r]"], "/opt/dir"));
    }
}
