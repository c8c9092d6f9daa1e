//! On which interfaces queries are answered past the kernel's stack (`listen.xdp`).

/// An interface, as configured. It need not exist: then the sockets serve alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpInterface {
    /// 1 to 15 octets.
    pub name: String,
    pub queues: Queues,
    /// True where plain questions are answered in the kernel, before they come to a queue.
    pub kernel_answers: bool,
}

/// The receive queues that are served. Packets of the others go to the sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Queues {
    #[default]
    All,
    /// At least one, each below 256 and there once.
    Some(Vec<u32>),
}
