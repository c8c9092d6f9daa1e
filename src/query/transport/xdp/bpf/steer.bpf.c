// Steers plain UDP queries to this server to its AF_XDP sockets, one per receive queue, and leaves
// everything else to the kernel: TCP, ARP, ICMP, neighbour discovery, fragments, other ports, other
// addresses. What counts as a plain query is in packet.bpf.h.
//
// Compiled by ./compile; the object is committed, so that building the server needs no clang.
#include "packet.bpf.h"

// The sockets by receive queue.
struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, 256);
    __type(key, __u32);
    __type(value, __u32);
} SOCKETS SEC(".maps");

SEC("xdp")
int steer(struct xdp_md *ctx) {
    struct packet packet;
    if (!read_query(ctx, &packet))
        return XDP_PASS;
    // A queue without a socket: the kernel's stack.
    return bpf_redirect_map(&SOCKETS, ctx->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
