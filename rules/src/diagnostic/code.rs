//! The table of codes. A code never changes its meaning; a code no longer used is not given out again.

use std::fmt;

use super::Severity;

/// A stable code, `RMP` and four digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub &'static str);

/// What is known about a code.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The code.
    pub code: Code,
    /// Severity of its findings.
    pub severity: Severity,
    /// The code of Falco's loader for the same finding.
    pub falco: Option<&'static str>,
    /// One line about it.
    pub title: &'static str,
    /// What it means and what to do about it, with an example; Markdown.
    pub explanation: &'static str,
}

impl Code {
    /// Facts about the code.
    pub fn info(self) -> &'static CodeInfo {
        CODES.iter().find(|info| info.code == self).unwrap_or(&UNLISTED)
    }

    /// Finds a code by its text, in any case.
    pub fn find(text: &str) -> Option<Self> {
        CODES.iter().map(|info| info.code).find(|code| code.0.eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// For a [`Code`] made by hand that is not in the table.
static UNLISTED: CodeInfo = CodeInfo {
    code: Code("RMP0000"),
    severity: Severity::Error,
    falco: None,
    title: "unlisted finding",
    explanation: "",
};

/// Expands the rows to constants and to [`CODES`].
macro_rules! codes {
    ($($id:ident $code:literal $severity:ident $falco:expr, $title:literal;)*) => {
        $(#[doc = $title] pub const $id: Code = Code($code);)*

        /// All codes, ascending.
        pub static CODES: &[CodeInfo] = &[$(CodeInfo {
            code: $id,
            severity: Severity::$severity,
            falco: $falco,
            title: $title,
            explanation: include_str!(concat!("../../codes/", $code, ".md")),
        }),*];
    };
}

codes! {
    NOT_UTF8 "RMP0001" Error Some("LOAD_ERR_YAML_PARSE"), "file is not UTF-8";
    YAML_SYNTAX "RMP0002" Error Some("LOAD_ERR_YAML_PARSE"), "YAML does not parse";
    YAML_LIMIT "RMP0003" Error Some("LOAD_ERR_YAML_PARSE"), "YAML exceeds a limit";
    YAML_DUPLICATE_KEY "RMP0004" Warning None, "key given twice";
    NOT_A_SEQUENCE "RMP0005" Error Some("LOAD_ERR_YAML_VALIDATE"), "document is not a sequence";
    NOT_A_MAP "RMP0006" Error Some("LOAD_ERR_YAML_VALIDATE"), "item is not a map";
    UNKNOWN_ITEM "RMP0007" Warning Some("LOAD_UNKNOWN_ITEM"), "unknown kind of item";
    UNKNOWN_KEY "RMP0008" Warning Some("LOAD_UNKNOWN_KEY"), "unknown key";
    MISSING_KEY "RMP0009" Error Some("LOAD_ERR_YAML_VALIDATE"), "missing key";
    WRONG_TYPE "RMP0010" Error Some("LOAD_ERR_YAML_VALIDATE"), "value of the wrong type";
    BAD_ENGINE_VERSION "RMP0011" Error Some("LOAD_ERR_YAML_VALIDATE"), "engine version does not parse";
    ENGINE_TOO_OLD "RMP0012" Error Some("LOAD_ERR_VALIDATE"), "file needs another engine version";
    BAD_PLUGIN_VERSION "RMP0013" Error Some("LOAD_ERR_VALIDATE"), "plugin requirement is malformed";
    PLUGIN_MISSING "RMP0014" Error Some("LOAD_ERR_VALIDATE"), "file needs a plugin that is not there";
    BAD_PRIORITY "RMP0015" Error Some("LOAD_ERR_YAML_VALIDATE"), "unknown priority";
    DEPRECATED "RMP0016" Warning Some("LOAD_DEPRECATED_ITEM"), "deprecated form";
    BAD_OVERRIDE "RMP0017" Error Some("LOAD_ERR_YAML_VALIDATE"), "override does not fit";
    UNKNOWN_TARGET "RMP0018" Error Some("LOAD_ERR_VALIDATE"), "nothing of that name to change";
    SOURCE_CHANGED "RMP0019" Error Some("LOAD_ERR_VALIDATE"), "rule changes its source";
    UNKNOWN_SOURCE "RMP0020" Warning Some("LOAD_UNKNOWN_SOURCE"), "unknown event source";
    INVALID_MACRO_NAME "RMP0021" Warning Some("LOAD_INVALID_MACRO_NAME"), "macro cannot be named by a condition";
    INVALID_LIST_NAME "RMP0022" Warning Some("LOAD_INVALID_LIST_NAME"), "list cannot be named by a condition";
    EMPTY_NAME "RMP0023" Error Some("LOAD_ERR_YAML_VALIDATE"), "name is empty";
    INCOMPLETE_RULE "RMP0024" Error Some("LOAD_ERR_YAML_VALIDATE"), "rule lacks a required key";
    EXCEPTION_INVALID "RMP0030" Error Some("LOAD_ERR_VALIDATE"), "exception is malformed";
    EXCEPTION_NO_VALUES "RMP0031" Warning Some("LOAD_APPEND_NO_VALUES"), "exception is appended without values";
    EXCEPTION_NOT_UNIQUE "RMP0032" Warning Some("LOAD_EXCEPTION_NAME_NOT_UNIQUE"), "exception is defined twice";
    EXCEPTION_SHAPE "RMP0033" Error Some("LOAD_ERR_YAML_VALIDATE"), "exception has keys of the wrong shape";
    BAD_WINDOW "RMP0040" Error None, "window of a rule is malformed";
    BAD_RESPONSE "RMP0041" Error None, "response of a rule is malformed";
    SYNTAX "RMP0100" Error Some("LOAD_ERR_COMPILE_CONDITION"), "condition does not parse";
    TOO_DEEP "RMP0101" Error Some("LOAD_ERR_COMPILE_CONDITION"), "condition is nested too deeply";
    TOO_LARGE "RMP0102" Error Some("LOAD_ERR_COMPILE_CONDITION"), "condition grows too large";
    UNDEFINED_MACRO "RMP0103" Error Some("LOAD_ERR_VALIDATE"), "undefined macro";
    MACRO_LOOP "RMP0104" Error Some("LOAD_ERR_VALIDATE"), "macro refers to itself";
    UNUSED_MACRO "RMP0105" Warning Some("LOAD_UNUSED_MACRO"), "macro is not used";
    UNUSED_LIST "RMP0106" Warning Some("LOAD_UNUSED_LIST"), "list is not used";
    UNKNOWN_FIELD "RMP0110" Error Some("LOAD_ERR_COMPILE_CONDITION"), "unknown field";
    FIELD_ARGUMENT "RMP0111" Error Some("LOAD_ERR_COMPILE_CONDITION"), "field argument does not fit";
    OPERATOR_TYPE "RMP0112" Error Some("LOAD_ERR_COMPILE_CONDITION"), "operator does not fit the field";
    LITERAL_TYPE "RMP0113" Error Some("LOAD_ERR_COMPILE_CONDITION"), "value does not fit the field";
    RIGHT_SIDE "RMP0114" Error Some("LOAD_ERR_COMPILE_CONDITION"), "right side cannot be compared";
    TRANSFORMER "RMP0115" Error Some("LOAD_ERR_COMPILE_CONDITION"), "transformer does not fit";
    UNKNOWN_EVENT "RMP0116" Error Some("LOAD_ERR_COMPILE_CONDITION"), "unknown event type";
    BAD_PATTERN "RMP0117" Error Some("LOAD_ERR_COMPILE_CONDITION"), "pattern does not compile";
    UNKNOWN_FILTER "RMP0118" Warning Some("LOAD_UNKNOWN_FILTER"), "rule is skipped";
    SUSPICIOUS_VALUE "RMP0119" Warning Some("LOAD_COMPILE_CONDITION"), "value is likely not meant as text";
    PLAIN_REGEX "RMP0120" Warning Some("LOAD_COMPILE_CONDITION"), "regular expression that a plain operator expresses";
    UNSAFE_NA "RMP0121" Warning Some("LOAD_UNSAFE_NA_CHECK"), "comparison with `<NA>`";
    TOO_MANY_EVENTS "RMP0122" Warning Some("LOAD_NO_EVTTYPE"), "rule is tried on too many event types";
    BAD_OUTPUT "RMP0130" Error Some("LOAD_ERR_COMPILE_OUTPUT"), "output does not parse";
    SHADOWED_RULE "RMP0200" Warning None, "rule is shadowed by an earlier one";
    REDEFINED "RMP0201" Warning None, "item is defined twice";
    NEVER_TRUE "RMP0202" Warning None, "condition is never true";
    ALWAYS_TRUE "RMP0203" Warning None, "condition is always true";
    FIXED_PART "RMP0204" Warning None, "part of a condition is always the same";
    FIELD_NEVER_SET "RMP0205" Warning None, "field has no value on these events";
    COSTLY_REGEX "RMP0206" Warning None, "regular expression is expensive";
    ONLY_EVENT_TYPE "RMP0207" Note None, "only the event type can be decided in the kernel";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lint::Lints,
        load::{LoadOptions, Source, load},
    };

    #[test]
    fn codes_ascend_and_are_well_formed() {
        assert!(CODES.is_sorted_by(|a, b| a.code < b.code), "codes must be unique and ascending");
        for info in CODES {
            let digits = info.code.0.strip_prefix("RMP").unwrap();
            assert!(digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{}", info.code);
            let error = info.falco.is_some_and(|falco| falco.starts_with("LOAD_ERR_"));
            assert!(info.falco.is_none() || error == (info.severity == Severity::Error), "{}", info.code);
        }
        assert_eq!(Code::find("rmp0100"), Some(SYNTAX));
        assert_eq!(Code::find("RMP9999"), None);
    }

    /// The fenced block of an explanation with this word behind `yaml`.
    fn block<'a>(text: &'a str, word: &str) -> Option<&'a str> {
        let start = text.split_once(&format!("```yaml {word}\n"))?.1;
        start.split_once("```").map(|(block, _)| block)
    }

    #[test]
    fn explanations_show_what_they_explain() {
        for info in CODES {
            let head = format!("# {}: {}\n\n", info.code, info.title);
            assert!(info.explanation.starts_with(&head), "{}", info.code);
            let found = |text: &str| {
                let source = Source { name: "example".to_owned(), text: text.into() };
                let options = LoadOptions { lints: Lints::All, ..LoadOptions::default() };
                let loaded = load(&[source], &options);
                loaded.diagnostics.iter().any(|finding| finding.code == info.code)
            };
            match block(info.explanation, "finding") {
                Some(example) => assert!(found(example), "{}: the example does not show it", info.code),
                // The only one that YAML in Markdown cannot show.
                None => assert_eq!(info.code, NOT_UTF8),
            }
            if let Some(example) = block(info.explanation, "clean") {
                assert!(!found(example), "{}: the corrected example still has it", info.code);
            }
        }
    }
}
