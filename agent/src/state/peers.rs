//! The last peer of each datagram socket, so that only a send to a new peer counts as a new name.

use rampart_common::event::SocketFacts;

/// Slots; a collision forgets the older socket, which then reports its peer once more.
const SLOTS: usize = 4096;

/// Address bytes and port of a peer.
pub type Peer = ([u8; 16], u16);

/// A direct-mapped cache by socket identity. Fixed size.
#[derive(Debug)]
pub struct DatagramPeers {
    slots: Vec<Option<(u64, u32, Peer)>>,
}

impl Default for DatagramPeers {
    fn default() -> Self {
        Self { slots: vec![None; SLOTS] }
    }
}

impl DatagramPeers {
    /// Notes the peer of a send; true when it is not the socket's last one.
    pub fn changed(&mut self, socket: &SocketFacts, peer: Peer) -> bool {
        // Kernel objects are at least 64 bytes apart, so the low bits tell nothing.
        let index = (socket.sock >> 6) as usize % SLOTS;
        let Some(slot) = self.slots.get_mut(index) else { return true };
        let entry = (socket.sock, socket.ino, peer);
        slot.replace(entry) != Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use rampart_common::event::SocketFacts;

    use super::{DatagramPeers, SLOTS};

    #[test]
    fn only_a_new_peer_counts() {
        let mut peers = DatagramPeers::default();
        let socket = SocketFacts { sock: 0xffff_8880_0000_1000, ino: 7, ..SocketFacts::default() };
        assert!(peers.changed(&socket, ([1; 16], 53)));
        assert!(!peers.changed(&socket, ([1; 16], 53)));
        assert!(peers.changed(&socket, ([1; 16], 54)));
        assert!(
            peers.changed(&SocketFacts { ino: 8, ..socket }, ([1; 16], 54)),
            "another socket, same address"
        );
        let other = SocketFacts { sock: socket.sock + 64 * SLOTS as u64, ..socket };
        assert!(peers.changed(&other, ([1; 16], 54)));
        assert!(peers.changed(&socket, ([1; 16], 54)), "forgotten by the collision");
    }
}
