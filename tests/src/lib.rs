//! Harness and end-to-end tests: guards for network namespaces and control groups, and how to start an agent.
