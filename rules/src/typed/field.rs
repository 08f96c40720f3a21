//! Names of fields to ids and arguments.

use crate::{
    catalog::{self, ArgForm, ArgKind, Class, FIELDS, Field, FieldId, FieldType, ParamType, ids},
    condition::ast::FieldRef,
    diagnostic::{Diagnostic, code},
    typed::{Arg, FieldUse, Type},
};

/// Fields whose argument may follow a dot instead of standing in brackets.
const DOTTED: [FieldId; 5] =
    [ids::EVT_ARG, ids::EVT_RAWARG, ids::EVT_TYPE_IS, ids::EVT_ABSPATH, ids::THREAD_CGROUP];

/// Finds the field a reference means and checks its argument.
pub(super) fn resolve(field: &FieldRef, container: bool) -> Result<FieldUse, Box<Diagnostic>> {
    let (id, dotted) = split(&field.name)
        .filter(|(id, _)| container || id.def().class != Class::Container)
        .ok_or_else(|| Box::new(unknown(field)))?;
    let def = id.def();
    let form = match (def.arg, dotted.is_some() || field.arg.is_some()) {
        (ArgKind::Required(_), false) => {
            return Err(argument(field, format!("field `{}` needs an argument", def.name)));
        }
        (ArgKind::None, true) => {
            return Err(argument(field, format!("field `{}` takes no argument", def.name)));
        }
        (ArgKind::None | ArgKind::Optional(_), false) => None,
        (ArgKind::Required(form) | ArgKind::Optional(form), true) => Some(form),
    };
    if dotted.is_some() && field.arg.is_some() {
        return Err(argument(field, format!("field `{}` takes one argument only", def.name)));
    }
    let text = match (dotted, &field.arg) {
        (Some(text), _) => Some(text.to_owned()),
        (None, Some(arg)) => Some(
            String::from_utf8(arg.bytes.clone())
                .map_err(|_| argument(field, format!("the argument of `{}` is not UTF-8", def.name)))?,
        ),
        (None, None) => None,
    };
    let arg = match (form, text) {
        (Some(form), Some(text)) => parse_argument(field, def, form, text)?,
        _ => Arg::None,
    };
    let ty = field_type(id, &arg).ok_or_else(|| Box::new(unknown(field)))?;
    Ok(FieldUse { id, arg, ty })
}

/// Whether a text is a field as a rule could write it.
pub(super) fn is_field(text: &str) -> bool {
    let name = match text.split_once('[') {
        Some((name, rest)) if rest.ends_with(']') => name,
        Some(_) => return false,
        None => text,
    };
    split(name).is_some_and(|(id, dotted)| {
        dotted.is_none_or(|key| !is_parameter_field(id) || catalog::is_param(key))
    })
}

/// The longest prefix of `name` that is a field usable in outputs, with its dotted argument.
pub(crate) fn longest_prefix(name: &str) -> Option<&str> {
    let mut end = name.len();
    while end > 0 {
        let prefix = name.get(..end)?;
        if is_field(prefix) {
            return Some(prefix);
        }
        end = prefix.char_indices().next_back().map_or(0, |(at, _)| at);
    }
    None
}

/// Field and dotted argument of a name.
fn split(name: &str) -> Option<(FieldId, Option<&str>)> {
    if let Some(id) = catalog::field(name) {
        return Some((id, None));
    }
    DOTTED.into_iter().find_map(|id| {
        let key = name.strip_prefix(id.def().name)?.strip_prefix('.')?;
        (!key.is_empty()).then_some((id, Some(key)))
    })
}

fn is_parameter_field(id: FieldId) -> bool {
    id == ids::EVT_ARG || id == ids::EVT_RAWARG
}

fn parse_argument(
    field: &FieldRef,
    def: &Field,
    form: ArgForm,
    text: String,
) -> Result<Arg, Box<Diagnostic>> {
    let index = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let arg = match (form, index) {
        (ArgForm::Index | ArgForm::Any, Some(index)) => Arg::Index(index),
        // `fd.types[*]` spells out what no argument means.
        (ArgForm::Index, None) if text == "*" && def.list => Arg::None,
        (ArgForm::Index, None) => {
            return Err(argument(field, format!("the argument of `{}` must be a number", def.name)));
        }
        (ArgForm::Key | ArgForm::Any, _) => Arg::Key(text.into_boxed_str()),
    };
    if let Arg::Key(key) = &arg
        && is_parameter_field(catalog::field(def.name).unwrap_or(FieldId(0)))
        && !catalog::is_param(key)
    {
        return Err(Box::new(
            Diagnostic::new(code::UNKNOWN_FIELD, format!("no event has a parameter `{key}`"))
                .at(field.span)
                .did_you_mean(key, catalog::param_names()),
        ));
    }
    Ok(arg)
}

/// Type of the field's value; `None` when a parameter has no type of its own.
fn field_type(id: FieldId, arg: &Arg) -> Option<Type> {
    let def = id.def();
    if def.ty != FieldType::Dyn {
        return Some(Type { base: def.ty, bits: def.bits, list: def.list && *arg == Arg::None });
    }
    let Arg::Key(key) = arg else { return Some(Type { base: FieldType::Int, bits: 64, list: false }) };
    let (base, bits) = match catalog::param_type(key)? {
        ParamType::Int(bits) => (FieldType::Int, bits),
        ParamType::Uint(bits) | ParamType::Flags(bits) | ParamType::EnumFlags(bits) => {
            (FieldType::Uint, bits)
        }
        ParamType::Mode | ParamType::Uid | ParamType::Gid | ParamType::SigSet => (FieldType::Uint, 32),
        ParamType::Signal => (FieldType::Uint, 8),
        ParamType::SyscallId => (FieldType::Uint, 16),
        ParamType::Errno | ParamType::Fd | ParamType::Pid => (FieldType::Int, 64),
        ParamType::Text | ParamType::TextArray => (FieldType::Text, 0),
        ParamType::Path | ParamType::RelPath => (FieldType::Path, 0),
        ParamType::Buffer
        | ParamType::FdList
        | ParamType::SockAddr
        | ParamType::SockTuple
        | ParamType::Dyn => (FieldType::Buffer, 0),
        ParamType::Ipv4 | ParamType::Ipv6 => (FieldType::Ip, 0),
        ParamType::Port => (FieldType::Port, 16),
        ParamType::RelTime => (FieldType::RelTime, 64),
        ParamType::AbsTime => (FieldType::AbsTime, 64),
    };
    Some(Type { base, bits, list: false })
}

fn unknown(field: &FieldRef) -> Diagnostic {
    Diagnostic::new(code::UNKNOWN_FIELD, format!("unknown field `{}`", field.name))
        .at(field.span)
        .did_you_mean(&field.name, FIELDS.iter().map(|field| field.name))
}

fn argument(field: &FieldRef, message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::new(code::FIELD_ARGUMENT, message).at(field.span))
}
