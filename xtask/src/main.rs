//! Build, test, demo and bench commands of the workspace.

fn main() {}
