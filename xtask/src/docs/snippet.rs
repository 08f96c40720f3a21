//! What is in a page of Markdown: blocks of code, commands, links and headings.

use std::collections::BTreeSet;

/// A block of code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snippet {
    /// What the opening fence says.
    pub(super) kind: String,
    /// Line of the opening fence.
    pub(super) line: usize,
    pub(super) text: String,
}

/// Every block, in order.
pub(super) fn all(text: &str) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    let mut open: Option<Snippet> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(kind)) => {
                open = Some(Snippet { kind: kind.trim().to_owned(), line: index + 1, text: String::new() });
            }
            (Some(_), Some(_)) => snippets.extend(open.take()),
            (Some(snippet), None) => {
                snippet.text.push_str(line);
                snippet.text.push('\n');
            }
            (None, None) => {}
        }
    }
    snippets
}

/// The commands of a shell block, each in its words: parts of pipes and lists apart, without `sudo`, variables and comments.
pub(super) fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let mut commands = Vec::new();
    for line in joined.lines() {
        let mut command: Vec<String> = Vec::new();
        for word in words(line) {
            if matches!(word.as_str(), "|" | "&&" | "||" | ";" | "&") {
                commands.push(std::mem::take(&mut command));
            } else if word == "#" || word == ">" {
                break;
            } else if !(command.is_empty() && (word == "sudo" || is_variable(&word))) {
                command.push(word);
            }
        }
        commands.push(command);
    }
    commands.retain(|command| !command.is_empty());
    commands
}

fn is_variable(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    !name.is_empty() && name.chars().all(|character| character.is_ascii_uppercase() || character == '_')
}

/// Words as a shell splits them, quotes taken off.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    for character in line.chars() {
        match (quote, character) {
            (Some(mark), _) if mark == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                any = true;
            }
            (None, _) if character.is_whitespace() => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            _ => word.push(character),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

/// Targets of links outside of code.
pub(super) fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let mut rest = if is_code { "" } else { line };
        while let Some((_, after)) = rest.split_once("](") {
            let Some((link, after)) = after.split_once(')') else { break };
            links.push(link.to_owned());
            rest = after;
        }
    }
    links
}

/// Headings as links name them.
pub(super) fn headings(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut headings = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if !is_code && line.starts_with('#') {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|one| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_'));
            headings.insert(kept.map(|one| if one == ' ' { '-' } else { one }).collect());
        }
    }
    headings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_say_what_they_are_and_where() {
        let page = "a\n```yaml rules\n- list: b\n```\n\n```sh\nrampart run\n```\n";
        let found = all(page);
        assert_eq!(
            (found[0].kind.as_str(), found[0].line, found[0].text.as_str()),
            ("yaml rules", 2, "- list: b\n")
        );
        assert_eq!((found[1].kind.as_str(), found[1].line), ("sh", 6));
    }

    #[test]
    fn commands_are_told_apart() {
        let text = "sudo rampart check -r 'a b.yaml' && rampart run -o json | jq .  # comment\nA_B=1 rampart status \\\n  --format json > file\n";
        let found: Vec<String> = commands(text).iter().map(|words| words.join("|")).collect();
        assert_eq!(
            found,
            ["rampart|check|-r|a b.yaml", "rampart|run|-o|json", "jq|.", "rampart|status|--format|json"]
        );
    }

    #[test]
    fn links_and_headings_are_found_outside_of_code() {
        let text = "# The `first` one\nsee [a](b.md#c) and [d](e)\n```\n# no\n[f](g)\n```\n";
        assert_eq!(links(text), ["b.md#c", "e"]);
        assert_eq!(headings(text).into_iter().collect::<Vec<_>>(), ["the-first-one"]);
    }
}
