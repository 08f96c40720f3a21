//! Rules about one source file: sizes, names, documentation, leftovers, unsafe code.

use super::source::Source;
use super::{Report, is_test};

/// Production lines a file should have at most; more is a note.
pub(super) const SIZE_AIM: usize = 300;
/// Production lines a file may have.
const SIZE_LIMIT: usize = 600;
/// Files that may be longer, each with its reason.
const SIZE_EXCEPTIONS: [(&str, &str); 0] = [];
/// Lines of an inline test module.
const TEST_LIMIT: usize = 150;
/// Names that say nothing about what a module owns.
const BANNED_NAMES: [&str; 5] = ["utils", "helpers", "common", "types", "misc"];
/// Where unsafe code may be: kernel programs, the agent's few raw system calls and kernel byte views, and kernel
/// tests, which make raw system calls to see them reported.
const UNSAFE_PLACES: [&str; 7] = [
    "agent-ebpf/src/",
    "limiter-ebpf/src/",
    "services-ebpf/src/",
    "agent/src/kernel/sys/",
    "agent/src/kernel/sys.rs",
    "tests/tests/",
    "tests/src/bin/actor/sys.rs",
];
/// How far above an unsafe block its SAFETY comment may begin.
const SAFETY_REACH: usize = 6;
/// Comment words for work left undone.
const LEFTOVER_COMMENTS: [&str; 3] = ["TODO", "FIXME", "XXX"];
/// Code for work left undone or tests that do not count.
const LEFTOVER_CODE: [(&str, &str); 5] = [
    ("todo!", "write it or leave it out"),
    ("unimplemented!", "write it or leave it out"),
    ("dbg!", "remove it"),
    ("#[ignore", "make the test run, or let it skip with its reason"),
    ("#[should_panic", "assert on the returned error"),
];

/// Applies every rule of this module to one file.
pub(super) fn check(source: &Source, report: &mut Report) {
    sizes(source, report);
    names(source, report);
    documentation(source, report);
    leftovers(source, report);
    unsafe_code(source, report);
}

fn sizes(source: &Source, report: &mut Report) {
    let path = source.path.as_str();
    if !is_test(source) {
        let excused = SIZE_EXCEPTIONS.iter().any(|(file, _)| *file == path);
        if source.production > SIZE_LIMIT && !excused {
            let message =
                format!("{} production lines; split by meaning, {SIZE_LIMIT} at most", source.production);
            report.add(path, 0, "file-size", message);
        } else if source.production > SIZE_AIM {
            report.large.push(format!("{path} ({})", source.production));
        }
    }
    let tests = source.lines.len() - source.production;
    if tests > TEST_LIMIT {
        let module = path.trim_end_matches(".rs");
        let message = format!("{tests} lines of inline tests; move them to `{module}/tests.rs`");
        report.add(path, source.production + 1, "test-size", message);
    }
}

fn names(source: &Source, report: &mut Report) {
    let path = source.path.as_str();
    let segments: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if segments.last() == Some(&"mod") {
        let folder = path.trim_end_matches("/mod.rs");
        report.add(path, 0, "mod-file", format!("name it `{folder}.rs`"));
    }
    // Folders above `src` are crates; their names are not module names.
    let modules = segments.iter().skip_while(|segment| **segment != "src").skip(1);
    for name in modules.filter(|name| BANNED_NAMES.contains(name)) {
        report.add(
            path,
            0,
            "module-name",
            format!("`{name}` says nothing; name the module after what it owns"),
        );
    }
    for (line, code) in source.production_code() {
        let code = code.trim();
        let declared = code.trim_start_matches("pub ").trim_start_matches("pub(crate) ").strip_prefix("mod ");
        let inline = declared.and_then(|rest| rest.strip_suffix('{')).map(str::trim);
        if inline.is_some_and(|name| BANNED_NAMES.contains(&name)) {
            report.add(path, line, "module-name", "name the module after what it owns");
        }
        if !is_test(source) && code.starts_with("use ") && code.contains("::*") {
            report.add(path, line, "glob-import", "name what is imported");
        }
    }
}

fn documentation(source: &Source, report: &mut Report) {
    // A unit test module needs no head: it belongs to the module it tests.
    if source.path.ends_with("/tests.rs") {
        return;
    }
    if !source.lines.first().is_some_and(|line| line.starts_with("//!")) {
        let message = "open with `//!`: what it owns, what it must never do, who calls it";
        report.add(&source.path, 1, "module-doc", message);
    }
}

fn leftovers(source: &Source, report: &mut Report) {
    for (index, comment) in source.comments.iter().enumerate() {
        let words = || comment.split(|character: char| !character.is_alphanumeric());
        for word in LEFTOVER_COMMENTS.iter().filter(|word| words().any(|found| found == **word)) {
            let message = format!("`{word}`: do it, or say why not in plain words");
            report.add(&source.path, index + 1, "leftover", message);
        }
    }
    for (index, code) in source.code.iter().enumerate() {
        for (text, fix) in LEFTOVER_CODE.iter().filter(|(text, _)| code.contains(text)) {
            report.add(&source.path, index + 1, "leftover", format!("`{text}`: {fix}"));
        }
    }
}

fn unsafe_code(source: &Source, report: &mut Report) {
    let path = source.path.as_str();
    for (index, code) in source.code.iter().enumerate() {
        let Some(keyword) = unsafe_keyword(code) else { continue };
        if !UNSAFE_PLACES.iter().any(|place| path.starts_with(place)) {
            let message = "unsafe code belongs in the kernel halves or `agent/src/kernel/sys`";
            report.add(path, index + 1, "unsafe-place", message);
        }
        // `unsafe fn` and `unsafe extern` state a duty instead of discharging one.
        if matches!(keyword, "{" | "impl") {
            let start = index.saturating_sub(SAFETY_REACH);
            let near = source.comments.get(start..=index).unwrap_or_default();
            if !near.iter().any(|comment| comment.contains("SAFETY:")) {
                report.add(
                    path,
                    index + 1,
                    "safety-comment",
                    "say above it with `// SAFETY:` why it holds here",
                );
            }
        }
    }
}

/// What follows the keyword `unsafe` on this line: `{`, `impl`, `fn` and so on; attributes do not count.
fn unsafe_keyword(code: &str) -> Option<&str> {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices("unsafe").find_map(|(start, word)| {
        let before = code.get(..start)?.chars().next_back();
        let after = code.get(start + word.len()..)?;
        if before.is_some_and(is_word) || after.starts_with(is_word) || after.starts_with('(') {
            return None;
        }
        Some(after.split_whitespace().next().unwrap_or("{"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        let mut report = Report::default();
        check(&Source::new(path.to_owned(), text), &mut report);
        report.findings.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_clean_file_has_no_finding() {
        assert_eq!(rules("agent/src/a.rs", "//! What it owns.\nfn a() {}\n"), Vec::<&str>::new());
    }

    #[test]
    fn sizes_count_production_and_tests_apart() {
        let body = "fn a() {}\n".repeat(599);
        assert!(rules("agent/src/a.rs", &format!("//! D.\n{body}")).is_empty());
        assert_eq!(rules("agent/src/a.rs", &format!("//! D.\n{body}fn b() {{}}\n")), ["file-size"]);
        let tests = format!("//! D.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(150));
        assert_eq!(rules("agent/src/a.rs", &tests), ["test-size"]);
        assert!(rules("agent/src/a/tests.rs", &"fn a() {}\n".repeat(700)).is_empty());
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        assert_eq!(rules("agent/src/utils.rs", "//! D.\n"), ["module-name"]);
        assert_eq!(rules("agent/src/a/mod.rs", "//! D.\n"), ["mod-file"]);
        assert_eq!(rules("agent/src/a.rs", "//! D.\npub(crate) mod helpers {\n}\n"), ["module-name"]);
        assert!(rules("agent-common/src/a.rs", "//! D.\n").is_empty());
    }

    #[test]
    fn unsafe_code_needs_its_place_and_its_reason() {
        let text = "//! D.\nfn a() { unsafe { b() } }\n";
        assert_eq!(rules("agent/src/a.rs", text), ["unsafe-place", "safety-comment"]);
        assert_eq!(rules("agent-ebpf/src/a.rs", text), ["safety-comment"]);
        let said = "//! D.\n// SAFETY: it holds.\nfn a() { unsafe { b() } }\n";
        assert!(rules("agent-ebpf/src/a.rs", said).is_empty());
        let none = "//! D.\n// unsafe { }\n#[unsafe(no_mangle)]\nconst UNSAFE: &str = \"unsafe {\";\n";
        assert!(rules("agent/src/a.rs", none).is_empty());
    }

    #[test]
    fn leftovers_are_found_in_comments_and_code_but_not_in_text() {
        assert_eq!(rules("agent/src/a.rs", "//! D.\n// TODO: more\n"), ["leftover"]);
        assert_eq!(rules("agent/src/a.rs", "//! D.\nfn a() { todo!() }\n"), ["leftover"]);
        assert_eq!(rules("agent/src/a.rs", "//! D.\n#[ignore = \"slow\"]\n"), ["leftover"]);
        assert!(rules("agent/src/a.rs", "//! D.\nconst A: &str = \"TODO todo!\";\n").is_empty());
    }

    #[test]
    fn documentation_and_glob_imports() {
        assert_eq!(rules("agent/src/a.rs", "fn a() {}\n"), ["module-doc"]);
        assert_eq!(rules("agent/src/a.rs", "//! D.\nuse std::fs::*;\n"), ["glob-import"]);
        assert!(
            rules("agent/src/a.rs", "//! D.\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n").is_empty()
        );
    }
}
