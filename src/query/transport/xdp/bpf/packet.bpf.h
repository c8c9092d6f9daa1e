// What both programs know of packets: where the headers are, and whether a packet is a plain UDP
// query to this server. Whatever is unusual (fragments, options, extension headers, two VLAN tags,
// strange sources) is not: the kernel's own stack judges it, and the sockets answer it.
//
//    Ethernet ─ [one VLAN tag] ─ IPv4 without options, or IPv6 without extension headers ─ UDP
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Longer frames do not fit user space's buffers. No query is so long.
#define MAX_FRAME 1600

// An address and port that is answered, as user space writes it: IPv4 in the first four octets, the
// others 0. In network order.
struct service_key {
    __u8 address[16];
    __be16 port;
    __be16 family; // 4 or 6
};

// The addresses answered, which user space keeps in step with those of the machine.
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, struct service_key);
    __type(value, __u8);
} ADDRESSES SEC(".maps");

// The interface's own hardware address. Frames to others are seen in promiscuous mode, and by hosts
// that share an address; those are not for us.
struct interface {
    __u8 hardware_address[ETH_ALEN];
    __u8 unused[2];
    // One of ADDRESSES, which need not be looked for there; all zeros: none.
    struct service_key usual;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct interface);
} INTERFACE SEC(".maps");

struct vlan_header {
    __be16 tag;
    __be16 protocol;
};

// Where the parts of a packet are. Valid until the program moves the packet's ends.
struct packet {
    void *data;
    void *end;
    struct ethhdr *ethernet;
    struct iphdr *ip4;   // this
    struct ipv6hdr *ip6; // or that; the other is null
    struct udphdr *udp;  // with the length it says within the packet
    // The same as numbers, which the verifier can follow where it cannot compare pointers with null.
    __u32 is_ip6;
    __u32 is_tagged;
};

static __always_inline int is_vlan(__be16 protocol) {
    return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

// Sources that the kernel refuses: "this" network, loopback, multicast and beyond.
static __always_inline int is_strange_ip4(__be32 source) {
    __u8 first = bpf_ntohl(source) >> 24;
    return first == 0 || first == 127 || first >= 224;
}

// The same: multicast, and ::/32, which holds the unspecified, loopback and IPv4-mapped addresses.
static __always_inline int is_strange_ip6(const struct in6_addr *source) {
    return source->s6_addr[0] == 0xff || source->s6_addr32[0] == 0;
}

static __always_inline int is_to(const struct interface *interface, const struct ethhdr *ethernet) {
    const __u16 *ours = (const void *)interface->hardware_address, *its = (const void *)ethernet->h_dest;
    return ours[0] == its[0] && ours[1] == its[1] && ours[2] == its[2];
}

static __always_inline int is_answered(const struct interface *interface, const struct service_key *key) {
    const __u32 *usual = (const void *)&interface->usual, *its = (const void *)key;
    __u32 differs = 0;
#pragma unroll
    for (int i = 0; i < (int)(sizeof *key / sizeof *its); i++)
        differs |= usual[i] ^ its[i];
    return !differs || bpf_map_lookup_elem(&ADDRESSES, key);
}

static __always_inline int read_ip4(struct packet *packet, void *at, struct service_key *key) {
    struct iphdr *ip = at;
    struct udphdr *udp = at + sizeof *ip;
    if ((void *)(udp + 1) > packet->end)
        return 0;
    // One octet holds version and header length: 0x45 is IPv4 without options.
    if (*(__u8 *)ip != 0x45 || ip->protocol != IPPROTO_UDP || is_strange_ip4(ip->saddr))
        return 0;
    // The flag "more fragments", or an offset: this is not the whole packet.
    if (ip->frag_off & bpf_htons(0x3fff))
        return 0;
    __u32 length = bpf_ntohs(ip->tot_len), datagram = bpf_ntohs(udp->len);
    if (length > packet->end - at || datagram < sizeof *udp || sizeof *ip + datagram > length)
        return 0;
    *(__be32 *)key->address = ip->daddr;
    key->family = bpf_htons(4);
    packet->ip4 = ip;
    packet->udp = udp;
    return 1;
}

static __always_inline int read_ip6(struct packet *packet, void *at, struct service_key *key) {
    struct ipv6hdr *ip = at;
    struct udphdr *udp = at + sizeof *ip;
    if ((void *)(udp + 1) > packet->end)
        return 0;
    // The first next header must be UDP: that leaves out fragments and all other extensions.
    if (ip->version != 6 || ip->nexthdr != IPPROTO_UDP || is_strange_ip6(&ip->saddr))
        return 0;
    __u32 length = bpf_ntohs(ip->payload_len), datagram = bpf_ntohs(udp->len);
    if (sizeof *ip + length > packet->end - at || datagram < sizeof *udp || datagram > length)
        return 0;
    __builtin_memcpy(key->address, &ip->daddr, sizeof key->address);
    key->family = bpf_htons(6);
    packet->ip6 = ip;
    packet->is_ip6 = 1;
    packet->udp = udp;
    return 1;
}

// Finds the headers. 0 where this is not a plain UDP packet to one of the addresses answered.
static __always_inline int read_query(struct xdp_md *ctx, struct packet *packet) {
    struct service_key key = {};
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    *packet = (struct packet){.data = data, .end = end, .ethernet = data};
    struct vlan_header *vlan = data + sizeof(struct ethhdr);
    if ((void *)(vlan + 1) > end || end - data > MAX_FRAME)
        return 0;
    __u32 zero = 0;
    const struct interface *interface = bpf_map_lookup_elem(&INTERFACE, &zero);
    if (!interface || !is_to(interface, packet->ethernet))
        return 0;
    __be16 protocol = packet->ethernet->h_proto;
    void *at = vlan;
    if (is_vlan(protocol)) {
        packet->is_tagged = 1;
        protocol = vlan->protocol;
        at = vlan + 1;
    }
    int whole = 0;
    if (protocol == bpf_htons(ETH_P_IP))
        whole = read_ip4(packet, at, &key);
    else if (protocol == bpf_htons(ETH_P_IPV6))
        whole = read_ip6(packet, at, &key);
    if (!whole)
        return 0;
    key.port = packet->udp->dest;
    return is_answered(interface, &key);
}
