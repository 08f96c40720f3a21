//! Section `traces`, and the names that OpenTelemetry gives its settings in the environment.

use std::{collections::BTreeMap, path::PathBuf};

use hyper::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use super::{ConfigError, raw::wrong};
use crate::traces::Settings;

/// Where receivers of OTLP over HTTP take traces.
const PATH: &str = "/v1/traces";
const SERVICE: &str = "rampart-collector";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTraces {
    endpoint: Option<String>,
    headers: BTreeMap<String, String>,
    ca_file: Option<PathBuf>,
    sample: Option<f64>,
    service_name: Option<String>,
}

/// Where spans go, if anywhere.
pub(super) fn traces(raw: RawTraces) -> Result<Option<Settings>, ConfigError> {
    let Some(written) = raw.endpoint.filter(|endpoint| !endpoint.is_empty()) else { return Ok(None) };
    let no_address = || wrong("traces.endpoint", "use an address such as `http://otel-collector:4318`");
    let uri: Uri = written.parse().map_err(|_| no_address())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(no_address());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("traces.endpoint", "names and passwords go into `traces.headers`"));
    }
    let endpoint = if matches!(uri.path(), "" | "/") && uri.query().is_none() {
        format!("{}{PATH}", written.trim_end_matches('/')).parse().map_err(|_| no_address())?
    } else {
        uri
    };
    let mut headers = Vec::new();
    for (name, value) in raw.headers {
        // What is wrong is not said: it may be a password.
        let problem = || wrong(&format!("traces.headers.{name}"), "is no header of HTTP");
        let mut value = HeaderValue::try_from(value).map_err(|_| problem())?;
        value.set_sensitive(true);
        headers.push((HeaderName::try_from(&name).map_err(|_| problem())?, value));
    }
    let sample = raw.sample.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&sample) {
        return Err(wrong("traces.sample", "use a share from 0 to 1"));
    }
    let service_name = raw.service_name.unwrap_or_else(|| SERVICE.to_owned());
    Ok(Some(Settings { endpoint, headers, ca_file: raw.ca_file, sample, service_name }))
}

/// Puts what OpenTelemetry's names say over what the file says.
pub(super) fn from_environment(value: &mut Value, env: &[(String, String)]) -> Result<(), ConfigError> {
    // One that is empty is as one that is not there.
    let named = |key: &str| {
        let found = env.iter().find(|(name, _)| name == key).map(|(_, text)| text.trim());
        found.filter(|text| !text.is_empty())
    };
    // What is said of traces counts more than what is said of all signals.
    let of_traces = |end: &str| {
        named(&format!("OTEL_EXPORTER_OTLP_TRACES_{end}"))
            .or_else(|| named(&format!("OTEL_EXPORTER_OTLP_{end}")))
    };
    let mut found: Vec<(&str, Value)> = Vec::new();
    if let Some(whole) = named("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        found.push(("endpoint", whole.into()));
    } else if let Some(base) = named("OTEL_EXPORTER_OTLP_ENDPOINT") {
        found.push(("endpoint", format!("{}{PATH}", base.trim_end_matches('/')).into()));
    }
    if let Some(headers) = of_traces("HEADERS") {
        let decoded = |text| Value::from(percent_decode_str(text).decode_utf8_lossy().into_owned());
        let pairs = headers.split(',').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (name.trim().into(), decoded(value.trim())));
        found.push(("headers", Value::Mapping(pairs.collect())));
    }
    if let Some(file) = of_traces("CERTIFICATE") {
        found.push(("ca_file", file.into()));
    }
    if let Some(name) = named("OTEL_SERVICE_NAME") {
        found.push(("service_name", name.into()));
    }
    let has_ratio = named("OTEL_TRACES_SAMPLER").is_some_and(|name| name.ends_with("traceidratio"));
    if let Some(share) = named("OTEL_TRACES_SAMPLER_ARG").filter(|_| has_ratio) {
        let share: f64 =
            share.parse().map_err(|_| wrong("OTEL_TRACES_SAMPLER_ARG", "use a share from 0 to 1"))?;
        found.push(("sample", share.into()));
    }
    let is_off = named("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"))
        || named("OTEL_TRACES_EXPORTER") == Some("none");
    if is_off {
        found.push(("endpoint", Value::Null));
    }
    let has_endpoint = found.iter().any(|(key, _)| *key == "endpoint") && !is_off;
    if has_endpoint && of_traces("PROTOCOL").is_some_and(|protocol| protocol != "http/protobuf") {
        return Err(wrong(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "only `http/protobuf` is spoken, mostly at port 4318",
        ));
    }
    if found.is_empty() {
        return Ok(());
    }
    if !value.is_mapping() {
        *value = Value::Mapping(Mapping::new());
    }
    let Value::Mapping(file) = value else { return Ok(()) };
    let section = file.entry("traces".into()).or_insert(Value::Null);
    if section.is_null() {
        *section = Value::Mapping(Mapping::new());
    }
    if let Value::Mapping(section) = section {
        section.extend(found.into_iter().map(|(key, value)| (key.into(), value)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn settings(text: &str, env: &[(&str, &str)]) -> Result<Option<super::Settings>, String> {
        let env: Vec<_> = env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        parse(text, "file", &env).map(|config| config.traces).map_err(|error| error.to_string())
    }

    fn endpoint(text: &str, env: &[(&str, &str)]) -> String {
        settings(text, env)
            .unwrap()
            .map_or_else(|| "none".to_owned(), |settings| settings.endpoint.to_string())
    }

    #[test]
    fn nothing_is_traced_unless_said_so() {
        assert_eq!(endpoint("", &[("OTEL_SERVICE_NAME", "x"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), "none");
        assert_eq!(endpoint("traces: {sample: 0.5}", &[]), "none");
        assert_eq!(endpoint("traces: {endpoint: 'http://a:4318'}", &[]), "http://a:4318/v1/traces");
        assert_eq!(endpoint("traces: {endpoint: 'https://a/x/y'}", &[]), "https://a/x/y");
        let settings = settings("traces: {endpoint: 'http://a', headers: {authorization: s3cret}}", &[]);
        let settings = settings.unwrap().unwrap();
        assert_eq!((settings.sample, settings.service_name.as_str()), (1.0, "rampart-collector"));
        assert!(!format!("{settings:?} {:?}", settings.headers).contains("s3cret"), "{:?}", settings.headers);
    }

    #[test]
    fn opentelemetrys_names_hold_in_the_environment() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:4318/otlp/");
        assert_eq!(endpoint("traces: {endpoint: 'http://a'}", &[base]), "http://b:4318/otlp/v1/traces");
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/t");
        assert_eq!(endpoint("", &[whole, base]), "http://c:1/t");
        assert_eq!(endpoint("", &[base, ("OTEL_SDK_DISABLED", "true")]), "none");
        assert_eq!(endpoint("traces: {endpoint: 'http://a'}", &[("OTEL_TRACES_EXPORTER", "none")]), "none");
        let all = settings(
            "",
            &[
                base,
                ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20a%3D, x-a = b"),
                ("OTEL_SERVICE_NAME", "mine"),
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ],
        );
        let all = all.unwrap().unwrap();
        assert_eq!((all.sample, all.service_name.as_str()), (0.25, "mine"));
        let headers: Vec<_> =
            all.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(headers, [("authorization", "Bearer a="), ("x-a", "b")]);
    }

    #[test]
    fn wrong_settings_are_named() {
        let fault = |text: &str, env: &[(&str, &str)]| settings(text, env).unwrap_err();
        assert!(fault("traces: {endpoint: 'otel:4317'}", &[]).contains("traces.endpoint"));
        let secret = fault("traces: {endpoint: 'http://u:s3cret@a'}", &[]);
        assert!(secret.contains("traces.headers") && !secret.contains("s3cret"), "{secret}");
        assert!(fault("traces: {endpoint: 'http://a', sample: 2}", &[]).contains("traces.sample"));
        let header = fault("traces: {endpoint: 'http://a', headers: {'a b': s3cret}}", &[]);
        assert!(header.contains("traces.headers.a b") && !header.contains("s3cret"), "{header}");
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:4317");
        assert!(fault("", &[base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).contains("http/protobuf"));
    }
}
