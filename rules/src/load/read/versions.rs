//! What a file requires of the engine and of plugins.

use super::{Read, Reader};
use crate::{
    diagnostic::{Diagnostic, code},
    load::{
        LoadOptions, Version,
        collect::{Collection, PluginRequirement},
    },
    yaml::Node,
};

impl Reader<'_> {
    pub(super) fn engine_version(&mut self, item: &Node) -> Read<()> {
        let Some(node) = item.get("required_engine_version") else { return Ok(()) };
        let text = node.as_text().unwrap_or("");
        let wanted = match text.parse::<u64>() {
            Ok(minor) => Version { major: 0, minor, patch: 0 },
            Err(_) => text.parse().map_err(|_| {
                let message = "`required_engine_version` is neither a number nor a version such as `0.26.0`";
                Box::new(Diagnostic::new(code::BAD_ENGINE_VERSION, message).at(node.span))
            })?,
        };
        let have = self.options.engine_version;
        if have.serves(wanted) {
            return Ok(());
        }
        let message = format!("file requires engine version {wanted}, but this is {have}");
        Err(Box::new(Diagnostic::new(code::ENGINE_TOO_OLD, message).at(node.span)))
    }

    pub(super) fn plugin_versions(&mut self, item: &Node) -> Read<()> {
        let Some(node) = item.get("required_plugin_versions") else { return Ok(()) };
        let Some(entries) = node.as_seq() else {
            let message = format!("`required_plugin_versions` must be a sequence, not {}", node.describe());
            return Err(Box::new(Diagnostic::new(code::WRONG_TYPE, message).at(node.span)));
        };
        for entry in entries {
            let mut any_of = vec![plugin(entry)?];
            if let Some(alternatives) = entry.get("alternatives") {
                let Some(alternatives) = alternatives.as_seq() else {
                    let message = "the `alternatives` of a plugin must be a sequence";
                    return Err(Box::new(Diagnostic::new(code::WRONG_TYPE, message).at(alternatives.span)));
                };
                for alternative in alternatives {
                    any_of.push(plugin(alternative)?);
                }
            }
            for (index, (name, _)) in any_of.iter().enumerate() {
                if any_of.iter().take(index).any(|(known, _)| known == name) {
                    let message = format!("plugin `{name}` is named twice in one requirement");
                    return Err(Box::new(Diagnostic::new(code::BAD_PLUGIN_VERSION, message).at(entry.span)));
                }
            }
            self.collection.plugins.push(PluginRequirement { any_of, span: entry.span });
        }
        Ok(())
    }
}

fn plugin(entry: &Node) -> Read<(String, Version)> {
    let text = |key: &str| match entry.get(key).map(|node| (node, node.as_text())) {
        Some((_, Some(text))) if !text.is_empty() => Ok(text),
        Some((node, _)) => {
            let message = format!("the `{key}` of a plugin must be a text");
            Err(Box::new(Diagnostic::new(code::BAD_PLUGIN_VERSION, message).at(node.span)))
        }
        None => {
            let message = format!("a plugin requirement needs a `{key}`");
            Err(Box::new(Diagnostic::new(code::MISSING_KEY, message).at(entry.span)))
        }
    };
    let name = text("name")?;
    let version = text("version")?.parse().map_err(|error| {
        let message = format!("version of plugin `{name}` is {error}");
        Box::new(Diagnostic::new(code::BAD_PLUGIN_VERSION, message).at(entry.span))
    })?;
    Ok((name.to_owned(), version))
}

/// Findings about plugins that are required and not there.
pub(in crate::load) fn check(collection: &Collection, options: &LoadOptions) -> Vec<Diagnostic> {
    let missing = collection.plugins.iter().filter(|required| {
        !required.any_of.iter().any(|(name, wanted)| {
            options.plugins.iter().any(|have| have.name == *name && have.version.serves(*wanted))
        })
    });
    let finding = |required: &PluginRequirement| {
        let names: Vec<String> =
            required.any_of.iter().map(|(name, version)| format!("`{name}` {version}")).collect();
        let message = format!("file requires plugin {}, which is not there", names.join(" or "));
        Diagnostic::new(code::PLUGIN_MISSING, message).at(required.span)
    };
    missing.map(finding).collect()
}
