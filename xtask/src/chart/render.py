"""Lints and renders a chart with Helm's engine and validates the objects; reads one question and prints one answer.

Question: {"chart": FOLDER, "cases": [{"name": NAME, "values": FILE}]}. Answer: {"lint": TEXT, "cases": {NAME:
{"manifest": TEXT, "error": TEXT, "invalid": TEXT}}}; an empty text is a good one.
"""

import json
import sys

import helm_python
import kubernetes_validate
import yaml

# The oldest with every field that is used, and the newest there is a schema of.
VERSIONS = ["1.30", "1.37"]
# Objects of others than Kubernetes, which there is no schema of.
FOREIGN = ("monitoring.coreos.com/", "cert-manager.io/")


def render(chart, values):
    chart.validate_schema(values)
    files = chart.render(values, name="test", namespace="default", is_install=True)
    texts = [files[name] for name in sorted(files) if name.endswith(".yaml")]
    return "\n---\n".join(text for text in texts if text.strip())


def invalid(manifest):
    faults = []
    for thing in yaml.safe_load_all(manifest):
        if not thing or thing["apiVersion"].startswith(FOREIGN):
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(thing, version, strict=True)
            except kubernetes_validate.ValidationError as fault:
                place = ".".join(str(part) for part in fault.path)
                faults.append(f"{thing['kind']} {thing['metadata']['name']} ({version}): {place}: {fault.message}")
    return "\n".join(faults)


def main():
    question = json.load(sys.stdin)
    report = helm_python.lint(question["chart"], {}, strict=True, namespace="default")
    found = [f"{one['path']}: {one['error']}" for one in report["messages"] or [] if one["severity"] > 1]
    answer = {"lint": "\n".join(found + (report["errors"] or [])), "cases": {}}
    chart = helm_python.Chart.load(question["chart"])
    for case in question["cases"]:
        said = {"manifest": "", "error": "", "invalid": ""}
        try:
            with open(case["values"]) as file:
                said["manifest"] = render(chart, yaml.safe_load(file) or {})
            said["invalid"] = invalid(said["manifest"])
        except helm_python.HelmError as fault:
            said["error"] = str(fault)
        answer["cases"][case["name"]] = said
    print(json.dumps(answer))


main()
