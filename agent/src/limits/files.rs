//! List files: an address or prefix a line; what follows `#` or `;` is a comment.

use std::net::IpAddr;

use ipnet::IpNet;

/// Faults of a file that are kept; a file of something else has one in every line.
const FAULTS_MAX: usize = 3;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Addresses and prefixes, each once.
    pub nets: Vec<IpNet>,
    /// Lines that are neither, with their numbers; the first few.
    pub faults: Vec<(usize, String)>,
}

/// Reads a file's text.
pub fn parse(text: &str) -> Listed {
    let mut listed = Listed::default();
    for (number, line) in (1..).zip(text.lines()) {
        let word = line.split(['#', ';']).next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        match net(word) {
            Some(net) if !is_part(net) => listed.nets.push(net),
            _ if listed.faults.len() < FAULTS_MAX => {
                listed.faults.push((number, word.chars().take(60).collect()));
            }
            _ => {}
        }
    }
    listed.nets.sort_unstable();
    listed.nets.dedup();
    listed
}

/// An address or prefix, without bits behind the prefix.
pub fn net(word: &str) -> Option<IpNet> {
    let net = word.parse::<IpNet>().ok();
    net.or_else(|| word.parse().ok().map(|address: IpAddr| address.into())).map(|net| net.trunc())
}

/// Whether this is a part of an IPv6 /64 that is more than one address: keys do not tell such apart.
pub const fn is_part(net: IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.prefix_len() > 64 && net.prefix_len() < 128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_nets_and_comments_and_faults_have_numbers() {
        let listed = parse(
            "# a feed\n192.0.2.9\n  198.51.100.77/24 ; SBL1\n\n2001:db8::/48 # x\nnobody\n2001:db8::/80\n192.0.2.9/32\n",
        );
        let nets: Vec<String> = listed.nets.iter().map(ToString::to_string).collect();
        assert_eq!(nets, ["192.0.2.9/32", "198.51.100.0/24", "2001:db8::/48"]);
        assert_eq!(listed.faults, [(6, "nobody".to_owned()), (7, "2001:db8::/80".to_owned())]);
        assert_eq!(parse(&"x\n".repeat(1000)).faults.len(), FAULTS_MAX);
    }
}
