// Answers plain questions by itself, from an image of the snapshot (image.bpf.h), and sends the
// packet back where it came from. Plain is: one question of class IN for A or AAAA, no flag but RD,
// CD and AD, with or without one OPT record of version 0, which has one ECS option or none. What is not plain, and
// what the image does not have, goes unchanged to the AF_XDP sockets, or else to the kernel.
//
//    read question ─▶ entry ─▶ [class ─▶ row] ─▶ answer copied ─▶ still current? ─▶ packet rewritten ─▶ XDP_TX
//        │                │            │                │                │
//        └────────────────┴────────────┴────────────────┴────────────────┴─▶ passed on: nothing has been touched
//
// The image may be written at any time. So nothing of it is used before all that is needed was copied and
// the image found to be the same as before, and still current.
// Octets are as the server's own src/wire writes them.
// Compiled by ./compile; the object is committed, so that building the server needs no clang.
#include "packet.bpf.h"
#include "image.bpf.h"

#define MAX_NAME 64
#define MAX_LABELS 12
#define HEADER 12
#define OPT 11
// Where the message begins, without a VLAN tag.
#define IP4_MESSAGE (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr))
#define IP6_MESSAGE (sizeof(struct ethhdr) + sizeof(struct ipv6hdr) + sizeof(struct udphdr))

// The sockets by receive queue.
struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, 256);
    __type(key, __u32);
    __type(value, __u32);
} SOCKETS SEC(".maps");

enum { OFF, ON, ON_GENERIC };

// What user space says.
struct control {
    u64 generation; // of the snapshot that is current: images of others answer nothing
    u32 on;         // 0: answer nothing; else OFF, ON or ON_GENERIC
    u32 stride;     // services' answers per sample, on average; at least 1
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct control);
} CONTROL SEC(".maps");

// What user space is told: counts of each processor.
struct counts {
    u64 a, aaaa; // answers
    u64 subnets; // of them, to questions with an ECS option
    u64 lost;    // services' answers that no sample stands for, since the ring was full
    // For samples.
    u64 services;  // services' answers
    u64 accounted; // up to this one all are sampled or lost
    u64 distance;  // and the next is sampled so much later
    u64 random;
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct counts);
} COUNTS SEC(".maps");

// Which client was sent where: see query/demand.rs.
struct sample {
    u64 client[2]; // in network order; IPv4 as IPv4-mapped
    u32 service;
    u32 ttl;
    u32 weight;
    u16 region;
    u16 reloads;
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 18);
} SAMPLES SEC(".maps");

// A plain question.
struct question {
    u32 length; // of the name
    u32 family; // 0: A, 1: AAAA
    u32 spelt;  // has letters in upper case
    u64 name[NAME_WORDS]; // in lower case, zeros behind
    u64 hash;
    u64 sum; // of the name as it came
    // OPT
    u32 has_opt, dnssec_ok;
    u32 subnet;  // family of an ECS option: 0, 1, 2
    u32 source;  // its prefix length
    u32 octets;  // of its address
    u64 address; // as it came, zeros behind
};

static __always_inline u64 lower_case(u64 word) {
    const u64 ones = 0x0101010101010101;
    u64 seven = word & 0x7f * ones;
    u64 from_a = seven + (0x80 - 'A') * ones, beyond_z = seven + (0x7f - 'Z') * ones;
    u64 letters = (from_a ^ beyond_z) & ~word & 0x80 * ones;
    return word | letters >> 2;
}

static __always_inline u64 add_words(u64 sum, u64 word) {
    return sum + (word & 0xffffffff) + (word >> 32);
}

static __always_inline u32 folded(u64 sum) {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

// Of octets that begin at an odd place.
static __always_inline u32 swapped(u32 sum, u32 odd) {
    return odd & 1 ? (sum >> 8 | sum << 8) & 0xffff : sum;
}

// The length of the name at `name`, 0 where it is not one of up to MAX_NAME octets.
static __always_inline u32 name_length(const u8 *name, const void *end) {
    u32 length = 0;
#pragma clang loop unroll(disable)
    for (int label = 0; label < MAX_LABELS; label++) {
        if (length > MAX_NAME - 1 || (void *)(name + length + 1) > end)
            return 0;
        u32 octets = name[length];
        if (octets > 63)
            return 0;
        length += 1 + octets;
        if (!octets)
            return length;
    }
    return 0;
}

static __always_inline int read_name(struct question *question, const u8 *message, const void *end) {
    const u8 *name = message + HEADER;
    u32 length = name_length(name, end);
    if (length == 0 || length > MAX_NAME)
        return 0;
    u64 hash = 0, sum = 0, spelt = 0;
#pragma unroll
    for (u32 i = 0; i < NAME_WORDS; i++) {
        u64 word = 0;
        if (length <= 8 * i) {
            question->name[i] = 0;
            continue;
        }
        if (length >= 8 * i + 8) {
            if ((void *)(name + 8 * i + 8) > end)
                return 0;
            word = *(const u64 *)(name + 8 * i);
        } else {
            // Read backwards from its end, lest it be read beyond the packet's.
            const u8 *last = message + HEADER - 8 + length;
            if ((void *)(last + 8) > end)
                return 0;
            word = *(const u64 *)last >> (64 - 8 * length & 63);
        }
        u64 lower = lower_case(word);
        question->name[i] = lower;
        spelt |= lower ^ word;
        sum = add_words(sum, word);
        hash = (hash ^ lower) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 32;
    }
    question->length = length;
    question->hash = hash;
    question->sum = sum;
    question->spelt = spelt != 0;
    return 1;
}

// How much is left of the packet. As a number: of two pointers that are equal the compiler knows that
// one is not beyond the other, and the verifier does not.
static __always_inline u32 octets_left(const void *from, const void *end) {
    u64 left = end - from;
    asm volatile("" : "+r"(left));
    return left;
}

// An ECS option that ends the packet. `octets`: of the option's data.
static __always_inline int read_subnet(struct question *question, const u8 *option, const void *end, u64 *sum) {
    u32 octets = bpf_ntohs(*(__be16 *)(option + 2));
    u32 family = bpf_ntohs(*(__be16 *)(option + 4));
    u32 source = option[6];
    if (*(__be16 *)option != bpf_htons(8) || option[7] != 0 || family < 1 || family > 2)
        return 0;
    // Longer prefixes of IPv6 are rare.
    if (source > (family == 1 ? 32 : 64))
        return 0;
    u32 significant = (source + 7) / 8;
    // Eight octets of which the address is the end.
    const u8 *last = option + significant;
    if (octets != 4 + significant || octets_left(option, end) != 8 + significant || (void *)(last + 8) > end)
        return 0;
    u64 address = 0;
    if (significant) {
        address = *(const u64 *)last >> (64 - 8 * significant & 63);
        // "trailing bits beyond SOURCE PREFIX-LENGTH MUST be 0"
        if (source < 64 && __builtin_bswap64(address) << source)
            return 0;
    }
    // From three octets before the option, the last of OPT's own.
    *sum = add_words(*sum, *(const u64 *)(option - 3));
    *sum = add_words(*sum, family | source << 8 | address << 24);
    *sum = add_words(*sum, address >> 40);
    question->subnet = family;
    question->source = source;
    question->octets = significant;
    question->address = address;
    return 1;
}

// Where the DNS message begins.
static __always_inline u32 message_at(const struct packet *packet) {
    return (packet->is_ip6 ? IP6_MESSAGE : IP4_MESSAGE) + (packet->is_tagged ? sizeof(struct vlan_header) : 0);
}

enum { DAMAGED, WHOLE, PARTIAL };

// What checksums say. `sum`: of the message.
static __always_inline int verify(const struct packet *packet, u64 sum) {
    const struct udphdr *udp = packet->udp;
    u64 pseudo = udp->len + bpf_htons(IPPROTO_UDP);
    if (packet->is_ip6) {
        // "IPv6 receivers must discard UDP packets containing a zero checksum" (RFC 8200 section 8.1), even
        // where the sum is right without one.
        if (!udp->check)
            return DAMAGED;
        const u32 *words = (const u32 *)&packet->ip6->saddr;
#pragma unroll
        for (int i = 0; i < 8; i++)
            pseudo += words[i];
    } else {
        const u32 *words = (const u32 *)packet->ip4;
        if (folded((u64)words[0] + words[1] + words[2] + words[3] + words[4]) != 0xffff)
            return DAMAGED;
        if (!udp->check)
            return WHOLE; // there is none
        pseudo += (u64)words[3] + words[4];
    }
    // Between virtual machines and containers only the pseudo-header's is there, for a card to go on from.
    if (udp->check && udp->check == folded(pseudo))
        return PARTIAL;
    return folded(pseudo + sum + udp->source + udp->dest + udp->len + udp->check) == 0xffff ? WHOLE : DAMAGED;
}

// Fills in all of the question; 0 where it is not plain. Gives the sum of the whole message.
static __always_inline int read_parts(struct question *question, const struct packet *packet, u64 *sum) {
    question->has_opt = question->dnssec_ok = question->subnet = question->source = question->octets = 0;
    question->address = 0;
    const void *end = packet->end;
    const u8 *message = packet->data + message_at(packet);
    if ((void *)(message + HEADER) > end)
        return 0;
    // No QR, opcode 0, one question, no other records but one additional. AA, TC, and the second
    // octet are not heeded, whatever they are.
    if (message[2] & 0xf8 || *(u16 *)(message + 4) != bpf_htons(1) || *(u32 *)(message + 6) != 0 || message[10] != 0)
        return 0;
    u32 additionals = message[11];
    if (additionals > 1 || !read_name(question, message, end))
        return 0;
    const u8 *after = message + HEADER + question->length;
    if ((void *)(after + 4) > end)
        return 0;
    u32 type = *(u32 *)after;
    if (type == bpf_htonl(1 << 16 | 1))
        question->family = 0;
    else if (type == bpf_htonl(28 << 16 | 1))
        question->family = 1;
    else
        return 0;
    u32 odd = question->length & 1;
    *sum = question->sum + *(u32 *)message + *(u32 *)(message + 4) + *(u32 *)(message + 8);
    u64 tail = type;
    after += 4;
    if (!additionals) {
        *sum += swapped(folded(tail), odd);
        return octets_left(after, end) == 0;
    }
    // Root, OPT, size, RCODE 0 or not, version 0, flags, length.
    if ((void *)(after + OPT) > end || after[0] || *(u16 *)(after + 1) != bpf_htons(41) || after[6])
        return 0;
    question->has_opt = 1;
    question->dnssec_ok = after[7] & 0x80;
    u32 options = bpf_ntohs(*(u16 *)(after + 9));
    tail = add_words(tail, *(u64 *)after);
    if (!options) {
        *sum += swapped(folded(tail + after[8]), odd);
        return octets_left(after, end) == OPT;
    }
    after += OPT;
    if ((void *)(after + 8) > end || options != bpf_ntohs(*(u16 *)(after + 2)) + 4u)
        return 0;
    if (!read_subnet(question, after, end, &tail))
        return 0;
    *sum += swapped(folded(tail), odd);
    return 1;
}

// Whether it is a plain question, and whole; see verify.
static __always_inline int read_question(struct question *question, const struct packet *packet) {
    u64 sum = 0;
    return read_parts(question, packet, &sum) ? verify(packet, sum) : DAMAGED;
}

static __always_inline struct entry *find_entry(void *names, const struct names_head *head,
                                                const struct question *question) {
    struct bucket *bucket = block(names, head->table_at + ((u32)question->hash & head->table_mask));
    if (!bucket)
        return 0;
    u32 tag = question->hash >> 32, number = 0;
#pragma unroll
    for (int slot = 0; slot < 8; slot++)
        if (bucket->tags[slot] == tag && bucket->entries[slot])
            number = bucket->entries[slot];
    struct entry *entry = number ? block(names, number) : 0;
    if (!entry || entry->length != question->length)
        return 0;
    u64 differs = 0;
#pragma unroll
    for (int i = 0; i < ENTRY_WORDS; i++)
        differs |= entry->name[i] ^ question->name[i];
    if (question->length > 8 * ENTRY_WORDS) {
        struct block *rest = block(names, number + 1);
        if (!rest)
            return 0;
        differs |= rest->words[0] ^ question->name[ENTRY_WORDS];
        differs |= rest->words[1] ^ question->name[ENTRY_WORDS + 1];
    }
    return differs ? 0 : entry;
}

// Who is answered: the network the question tells, or whoever sent it.
struct client {
    u32 is_ip6;
    u32 unused;
    u64 upper; // of IPv6, or IPv4 in the upper half; zeros behind
    u64 lower; // of IPv6, for samples
};

static __always_inline void read_source(struct client *client, const struct packet *packet) {
    if (packet->is_ip6) {
        const __be32 *source = packet->ip6->saddr.s6_addr32;
        client->upper = (u64)bpf_ntohl(source[0]) << 32 | bpf_ntohl(source[1]);
        client->lower = (u64)bpf_ntohl(source[2]) << 32 | bpf_ntohl(source[3]);
    } else {
        client->upper = (u64)bpf_ntohl(packet->ip4->saddr) << 32;
        client->lower = 0;
    }
    client->is_ip6 = packet->is_ip6;
    client->unused = 0;
}

static __always_inline int find_class(void *classes, const struct client *client, struct found *found) {
    struct classes_head *head = block(classes, 0);
    if (!head)
        return 0;
    if (client->is_ip6)
        return find6(classes, head, client->upper, found);
    return find4(classes, head, client->upper >> 32, found);
}

#define MAX_OPT 32

// What is found of a question.
struct finding {
    u32 scope;
    u32 service;
    u32 is_service;
    u32 reloads;
    struct client client;
    // As it was in the image, with all octets behind its head; room for OPT behind them.
    struct answer answer;
    u64 octets[(MAX_RECORDS - FIRST_OCTETS + MAX_OPT) / 8];
};

// What is being worked on, since a stack of 512 octets is soon full. A processor handles one packet
// at a time, but with PREEMPT_RT, where user space does not attach this program.
struct work {
    struct question question;
    struct client source;
    struct finding finding;
    u64 order; // see read_in_order
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct work);
} WORK SEC(".maps");

// The number of the answer in the image of names; 0 where there is none.
static __always_inline u32 find_number(void *names, const struct names_head *head, const struct question *question,
                                       const struct client *source, struct finding *finding) {
    struct entry *entry = find_entry(names, head, question);
    if (!entry)
        return 0;
    u32 believed = question->source && entry->flags & ECS;
    finding->client = *source;
    if (believed) {
        finding->client.is_ip6 = question->subnet == 2;
        finding->client.upper = __builtin_bswap64(question->address);
        finding->client.lower = 0;
    }
    finding->service = entry->service;
    finding->is_service = entry->flags & SERVICE;
    finding->reloads = head->reloads;
    finding->scope = 0;
    u32 number = question->family ? entry->answers[1] : entry->answers[0];
    if (!number || !(entry->flags & (question->family ? ROW_AAAA : ROW_A)))
        return number;
    u32 kind = CLASSES;
    void *classes = bpf_map_lookup_elem(&IMAGES, &kind);
    struct found found;
    if (!classes || !find_class(classes, &finding->client, &found))
        return 0;
    struct block *row = block(names, number + found.class / 16);
    if (believed)
        finding->scope = found.scope;
    return row ? row->figures[found.class % 16] : 0;
}

// Copies an answer. 0 where it cannot be one.
static __always_inline int copy_answer(void *names, u32 number, struct finding *finding) {
    struct answer *answer = block(names, number);
    if (!answer)
        return 0;
    finding->answer = *answer;
    u32 length = finding->answer.length;
    if (!length || length > MAX_RECORDS)
        return 0;
#pragma unroll
    for (u32 more = 0; more < MORE_BLOCKS; more++) {
        if (length <= FIRST_OCTETS + more * 64)
            break;
        struct block *next = block(names, number + 1 + more);
        if (!next)
            return 0;
#pragma unroll
        for (u32 i = 0; i < 8; i++)
            finding->octets[8 * more + i] = next->words[i];
    }
    return 1;
}

// Finds the answer to a question from `source`, and copies it. 0 where there is none.
//
// Not inlined, so that it is verified once, and not anew for every length a name may have.
__attribute__((noinline)) int find_answer(const struct question *question, const struct client *source,
                                          struct finding *finding, u64 *order) {
    u32 zero = 0, kind = NAMES;
    void *names = bpf_map_lookup_elem(&IMAGES, &kind);
    struct control *control = bpf_map_lookup_elem(&CONTROL, &zero);
    if (!names || !control || !question || !source || !finding || !order)
        return 0;
    struct names_head *head = block(names, 0);
    if (!head)
        return 0;
    u64 version = READ_ONCE(head->version), generation = READ_ONCE(control->generation);
    read_in_order(order);
    if (!version || READ_ONCE(head->generation) != generation)
        return 0;
    u32 number = find_number(names, head, question, source, finding);
    if (!number || !copy_answer(names, number, finding))
        return 0;
    read_in_order(order);
    return READ_ONCE(head->version) == version && READ_ONCE(control->generation) == generation;
}

// Now and then, one for all since the last.
static __always_inline void sample(struct counts *counts, u32 stride, const struct finding *finding) {
    u64 weight = ++counts->services - counts->accounted;
    u64 distance = counts->distance < 2 * (u64)stride ? counts->distance : 2 * (u64)stride;
    if (weight < distance)
        return;
    const struct client *client = &finding->client;
    struct sample sample = {.service = finding->service,
                            .ttl = finding->answer.ttl,
                            .weight = weight > 0xffffffff ? 0xffffffff : weight,
                            .region = finding->answer.region,
                            .reloads = finding->reloads};
    if (client->is_ip6) {
        sample.client[0] = __builtin_bswap64(client->upper);
        sample.client[1] = __builtin_bswap64(client->lower);
    } else {
        sample.client[1] = __builtin_bswap64(client->upper >> 32 | 0xffffULL << 32);
    }
    // User space looks by the clock: waking it costs more than an answer.
    if (bpf_ringbuf_output(&SAMPLES, &sample, sizeof sample, BPF_RB_NO_WAKEUP))
        counts->lost += weight;
    counts->accounted = counts->services;
    // Never foreseeable, for queries come in patterns; see demand.rs.
    counts->random = counts->random * 6364136223846793005ULL + 1442695040888963407ULL;
    counts->distance = 1 + ((counts->random >> 32) * (2 * (u64)stride - 1) >> 32);
}

static __always_inline void swap_hardware_addresses(struct ethhdr *ethernet) {
    u16 *to = (void *)ethernet->h_dest, *from = (void *)ethernet->h_source;
#pragma unroll
    for (int i = 0; i < 3; i++) {
        u16 word = to[i];
        to[i] = from[i];
        from[i] = word;
    }
}

// Gives the sum of what of the header counts for UDP.
static __always_inline u64 rewrite_ip4(struct iphdr *ip, u32 datagram) {
    u32 *words = (u32 *)ip;
    words[0] = bpf_htonl(0x45000000 | (20 + datagram)); // version, length of header, no service class
    words[1] = bpf_htonl(0x4000);                      // no identification; don't fragment
    words[2] = bpf_htonl(64 << 24 | IPPROTO_UDP << 16);
    u32 source = words[3];
    words[3] = words[4];
    words[4] = source;
    u64 addresses = (u64)words[3] + words[4];
    ip->check = ~folded(addresses + words[0] + words[1] + words[2]);
    return addresses;
}

static __always_inline u64 rewrite_ip6(struct ipv6hdr *ip, u32 datagram) {
    u32 *words = (u32 *)ip;
    words[0] = bpf_htonl(6 << 28);
    words[1] = bpf_htonl(datagram << 16 | IPPROTO_UDP << 8 | 64);
    u64 sum = 0;
#pragma unroll
    for (int i = 2; i < 6; i++) {
        u32 word = words[i];
        words[i] = words[i + 4];
        words[i + 4] = word;
        sum += (u64)word + words[i];
    }
    return sum;
}

// OPT: root, 41, 1232, 0, version 0, flags, length; then the option. `octets` of them in all. Gives their sum.
static __always_inline u64 write_opt(u8 *place, const struct question *question, u32 scope, u32 octets) {
    u32 option = octets - OPT;
    u64 *words = (void *)place;
    u64 word = 0xd004290000ULL | (u64)question->dnssec_ok << 56, sum = add_words(0, word);
    words[0] = word;
    words[1] = words[2] = words[3] = 0;
    if (option) {
        word = (u64)bpf_htons(option) << 8 | (u64)bpf_htons(8) << 24 | (u64)bpf_htons(option - 4) << 40;
        words[1] = word;
        sum = add_words(sum, word);
        word = question->subnet | question->source << 8 | scope << 16 | question->address << 24;
        words[2] = word;
        sum = add_words(sum, word);
        word = question->address >> 40;
        words[3] = word;
        sum = add_words(sum, word);
    }
    return sum;
}

// Writes the packet anew and sends it. XDP_PASS: it has not been touched; XDP_ABORTED: cannot be.
static __always_inline int respond(struct xdp_md *ctx, const struct packet *packet, const struct question *question,
                                   struct finding *finding) {
    const struct answer *answer = &finding->answer;
    u32 at = message_at(packet), name = question->length, length = answer->length;
    // They are, but the verifier has lost sight of it.
    if (name > MAX_NAME || !length || length > MAX_RECORDS || question->octets > 8)
        return XDP_PASS;
    u32 records = at + HEADER + name + 4;
    u32 option = question->subnet ? 8 + question->octets : 0;
    u32 opt = question->has_opt ? OPT + option : 0;
    u32 total = records + length + opt;
    // To the very octet: there may be hardly any room behind a packet.
    if (bpf_xdp_adjust_tail(ctx, (int)total - (int)(packet->end - packet->data)))
        return XDP_PASS;
    u8 *octets = (void *)answer->octets;
    u64 opt_sum = opt ? write_opt(octets + length, question, finding->scope, opt) : 0;
    if (bpf_xdp_store_bytes(ctx, records, octets, length + opt))
        return XDP_ABORTED;
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

    // The headers, from the inside out.
    u8 *message = data + at;
    struct udphdr *udp = (void *)message - sizeof *udp;
    if ((void *)(message + HEADER) > end)
        return XDP_ABORTED;
    u32 datagram = total - at + sizeof *udp;
    message[2] = 0x84 | (message[2] & 1); // QR, AA, RD as it came
    message[3] = 0;
    message[7] = answer->answers;
    message[9] = answer->authorities;
    message[11] = answer->additionals + (question->has_opt != 0);
    u64 sum = question->sum + *(u32 *)message + *(u32 *)(message + 4) + *(u32 *)(message + 8);
    u32 odd = name & 1;
    u32 tail = bpf_htons(question->family ? 28 : 1) + bpf_htons(1) + answer->sum + swapped(folded(opt_sum), length);
    sum += swapped(folded(tail), odd);
    __be16 port = udp->source;
    udp->source = udp->dest;
    udp->dest = port;
    udp->len = bpf_htons(datagram);
    sum += (u32)udp->source + udp->dest + udp->len + udp->len + bpf_htons(IPPROTO_UDP);
    if (!packet->is_ip6) {
        struct iphdr *ip = (void *)udp - sizeof *ip;
        sum += rewrite_ip4(ip, datagram);
    } else {
        struct ipv6hdr *ip = (void *)udp - sizeof *ip;
        sum += rewrite_ip6(ip, datagram);
    }
    u16 check = ~folded(sum);
    udp->check = check ? check : 0xffff; // 0 would say that there is none
    if (data + sizeof(struct ethhdr) > end)
        return XDP_ABORTED;
    swap_hardware_addresses(data);
    return XDP_TX;
}

// XDP_TX: answered; XDP_PASS: somebody else's, and unchanged.
static __always_inline int answer_query(struct xdp_md *ctx, const struct packet *packet) {
    u32 zero = 0;
    struct control *control = bpf_map_lookup_elem(&CONTROL, &zero);
    struct work *work = bpf_map_lookup_elem(&WORK, &zero);
    struct counts *counts = bpf_map_lookup_elem(&COUNTS, &zero);
    if (!control || !control->on || !work || !counts || !packet->udp->source ||
        octets_left(packet->udp, packet->end) != bpf_ntohs(packet->udp->len))
        return XDP_PASS;
    struct question *question = &work->question;
    struct finding *finding = &work->finding;
    int whole = read_question(question, packet);
    // In generic mode the kernel remembers of a packet that its checksum is to be filled in, and would do so
    // once more in the answer.
    if (whole == DAMAGED || (whole == PARTIAL && control->on == ON_GENERIC))
        return XDP_PASS;
    read_source(&work->source, packet);
    if (!find_answer(question, &work->source, finding, &work->order))
        return XDP_PASS;
    u32 flags = finding->answer.flags;
    if ((flags & LOWER_CASE && question->spelt) || (question->dnssec_ok && !(flags & ANY_DO)))
        return XDP_PASS;

    int done = respond(ctx, packet, question, finding);
    if (done != XDP_TX)
        return done;
    if (question->family)
        counts->aaaa++;
    else
        counts->a++;
    if (question->subnet)
        counts->subnets++;
    if (finding->is_service)
        sample(counts, control->stride, finding);
    return XDP_TX;
}

SEC("xdp")
int answer(struct xdp_md *ctx) {
    struct packet packet;
    if (!read_query(ctx, &packet))
        return XDP_PASS;
    int done = answer_query(ctx, &packet);
    if (done != XDP_PASS)
        return done;
    // A queue without a socket: the kernel's stack.
    return bpf_redirect_map(&SOCKETS, ctx->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
