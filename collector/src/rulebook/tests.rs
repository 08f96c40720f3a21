use rampart_proto::v1::RuleText;

use super::*;
use crate::store::sqlite;

const DAY: Duration = Duration::from_hours(24);

fn rulebook(dir: &tempfile::TempDir) -> Rulebook {
    let path = dir.path().join("db");
    drop(sqlite::writer(&path).unwrap());
    Rulebook::new(Records::new(Box::new(sqlite::identity::book(&path).unwrap())), DAY)
}

fn told(texts: &[&str]) -> RuleTexts {
    let texts: Vec<RuleText> =
        texts.iter().map(|text| RuleText { name: "f".to_owned(), text: text.as_bytes().to_vec() }).collect();
    RuleTexts { policy_digest: digest_of_texts(texts.iter().map(|text| &*text.text)), texts }
}

async fn shown(rulebook: &Rulebook, digest: &str) -> Option<String> {
    rule(&rulebook.records, digest.to_owned(), "R".to_owned()).await.unwrap()
}

#[tokio::test]
async fn texts_are_asked_for_once_and_kept_only_with_their_digest() {
    let dir = tempfile::tempdir().unwrap();
    let rulebook = rulebook(&dir);
    let right = told(&["- rule: R\n  condition: a\n", "- macro: a\n  condition: b\n"]);
    let digest = right.policy_digest.clone();
    rulebook.take("n", right.clone()).await;
    assert_eq!(shown(&rulebook, &digest).await, None, "nobody has asked");
    assert_eq!(rulebook.wanted("short").await, None);
    assert_eq!(rulebook.wanted(&digest).await, Some(RulesWanted { policy_digest: digest.clone() }));
    assert_eq!(rulebook.wanted(&digest).await, None, "one agent is enough");
    let mut wrong = told(&["- rule: R\n  condition: evil\n"]);
    wrong.policy_digest.clone_from(&digest);
    rulebook.take("n", wrong).await;
    assert_eq!(shown(&rulebook, &digest).await, None);
    rulebook.take("n", right).await;
    let text = shown(&rulebook, &digest).await.unwrap();
    assert!(text.contains("rule: R") && text.contains("macro: a"), "{text}");
    // Another collector of the store finds it there.
    let other = Rulebook::new(rulebook.records.clone(), DAY);
    assert_eq!(other.wanted(&digest).await, None);
    // After half of the time that it is kept it is told anew.
    let later = Rulebook::new(rulebook.records.clone(), Duration::ZERO);
    assert!(later.wanted(&digest).await.is_some());
}

#[tokio::test]
async fn what_an_agent_can_fill_the_store_with_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let rulebook = rulebook(&dir);
    let large = told(&["#".repeat(TEXTS_MAX + 1).as_str()]);
    assert!(rulebook.wanted(&large.policy_digest).await.is_some());
    rulebook.take("n", large).await;
    let mut kept = 0;
    for number in 0..KEPT_MAX + 10 {
        let texts = told(&[format!("- rule: R\n  condition: {number}\n").as_str()]);
        let digest = texts.policy_digest.clone();
        if rulebook.wanted(&digest).await.is_some() {
            rulebook.take("n", texts).await;
            kept += usize::from(shown(&rulebook, &digest).await.is_some());
        }
    }
    assert_eq!(kept, KEPT_MAX);
}
