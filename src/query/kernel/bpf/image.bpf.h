// What answers are found in: a snapshot in flat arrays of 64-octet blocks, which user space makes
// (image/, where the layout is explained) and writes in place. Whoever reads remembers the version
// that the head had before, takes all it needs, and throws it away where the version is another by then.
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

typedef __u64 u64;
typedef __u32 u32;
typedef __u16 u16;
typedef __u8 u8;

struct block {
    union {
        u64 words[8];
        u32 figures[16];
        u8 octets[64];
    };
};

// One image. User space writes it through a mapping, the same one for all programs. All are of one
// size (ROOM in maps.rs), which has the compiler in the kernel put lookups in line.
struct image {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1 << 18);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(struct block));
};

enum { NAMES, CLASSES, KINDS };

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, KINDS);
    __type(key, __u32);
    __array(values, struct image);
} IMAGES SEC(".maps");

struct names_head {
    u64 version;    // of both images, never the same twice; 0: they are being written
    u64 generation; // of the snapshot
    u32 table_at, table_mask;
    u32 reloads;
};

struct bucket {
    u32 tags[8];
    u32 entries[8];
};

enum { SERVICE = 1, ECS = 2, ROW_A = 4, ROW_AAAA = 8 };

#define NAME_WORDS 8
#define ENTRY_WORDS 6

struct entry {
    u8 length, flags;
    u16 unused;
    u32 service;
    u32 answers[2];
    u64 name[ENTRY_WORDS]; // the other two words are in the next block
};

enum { LOWER_CASE = 1, ANY_DO = 2 };

struct answer {
    u8 answers, authorities, additionals;
    u8 flags;
    u16 length;
    u16 sum; // of the octets, as from an even place
    u16 region;
    u16 unused;
    u32 ttl;
    u64 octets[6]; // the others are in the next blocks
};

#define FIRST_OCTETS 48
#define MORE_BLOCKS 3
#define MAX_RECORDS (FIRST_OCTETS + MORE_BLOCKS * 64)

struct classes_head {
    u32 index4, shift4, ranges4;
    u32 index6, shift6, after6, ranges6;
};

#define LAST 0x100
#define PASS_CLASS 0xffffffff

struct ranges4 {
    u32 starts[8];
    u32 classes[7];
    u32 count;
};

struct ranges6 {
    u64 starts[5];
    u32 classes[4];
    u32 unused;
    u32 count;
};

_Static_assert(sizeof(struct entry) == 64 && sizeof(struct answer) == 64, "one block");
_Static_assert(sizeof(struct ranges4) == 64 && sizeof(struct ranges6) == 64, "one block");

// Where an address is, and the widest prefix around it within which every address is there.
struct found {
    u32 class;
    u32 scope;
};

static __always_inline void *block(void *image, u32 number) {
    return bpf_map_lookup_elem(image, &number);
}

#define READ_ONCE(value) (*(const volatile typeof(value) *)&(value))

// Set by user space before loading, where processors may read out of order.
const volatile u32 WEAKLY_ORDERED = 0;

// What is read after this is read later than what is read before. `place`: of this processor.
static __always_inline void read_in_order(u64 *place) {
    if (WEAKLY_ORDERED)
        __sync_fetch_and_add(place, 0);
    asm volatile("" ::: "memory");
}

// The first and the last block that may hold an address of a bucket.
struct span {
    u32 first, last;
};

static __always_inline int span_of(void *image, u32 index_at, u32 bucket, struct span *span) {
    struct block *index = block(image, index_at + bucket / 8);
    if (!index)
        return 0;
    *span = *(struct span *)&index->octets[bucket % 8 * 8];
    return 1;
}

// The bit length of a number; 0 of 0. Without branches, each of which the verifier would follow.
static __always_inline u32 bit_length(u64 number) {
    number |= number >> 1;
    number |= number >> 2;
    number |= number >> 4;
    number |= number >> 8;
    number |= number >> 16;
    number |= number >> 32;
    // All bits up to the highest are set: how many are they?
    number -= number >> 1 & 0x5555555555555555;
    number = (number & 0x3333333333333333) + (number >> 2 & 0x3333333333333333);
    number = (number + (number >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return number * 0x0101010101010101 >> 56;
}

// Halves the span until one block is left: the last that begins at or below the key. At most 2^24
// blocks.
#define NARROW(image, ranges_at, span, key, kind)                                                                     \
    for (int step = 0; step < 24 && span.first < span.last; step++) {                                                 \
        u32 middle = span.first + (span.last - span.first + 1) / 2;                                                   \
        kind *ranges = block(image, ranges_at + middle);                                                              \
        if (!ranges)                                                                                                  \
            return 0;                                                                                                 \
        if (ranges->starts[0] <= key)                                                                                 \
            span.first = middle;                                                                                      \
        else                                                                                                          \
            span.last = middle - 1;                                                                                   \
    }

static __always_inline int find4(void *image, const struct classes_head *head, u32 key, struct found *found) {
    struct span span;
    if (!span_of(image, head->index4, key >> (head->shift4 & 31), &span))
        return 0;
    NARROW(image, head->ranges4, span, key, struct ranges4)
    struct ranges4 *ranges = block(image, head->ranges4 + span.first);
    if (!ranges)
        return 0;
    u32 count = ranges->count & 0xff, start = ranges->starts[0], next = ranges->starts[1], class = ranges->classes[0];
    u32 at = 0;
#pragma unroll
    for (u32 i = 1; i < 7; i++)
        if (i < count && ranges->starts[i] <= key)
            at = i, start = ranges->starts[i], next = ranges->starts[i + 1], class = ranges->classes[i];
    // The prefix must reach neither the address before the range nor the one after it.
    u64 apart = 1ULL << 32;
    if (start)
        apart = key ^ (start - 1);
    if (!(ranges->count & LAST && at + 1 == count) && (key ^ next) < apart)
        apart = key ^ next;
    found->class = class;
    found->scope = 33 - bit_length(apart);
    return class != PASS_CLASS;
}

// By the upper half of the address.
static __always_inline int find6(void *image, const struct classes_head *head, u64 key, struct found *found) {
    u32 bucket = 0;
    if (key >> 62)
        bucket = head->after6;
    else if (key >> 61)
        bucket = 1 + (u32)((key - (1ULL << 61)) >> (head->shift6 & 63));
    struct span span;
    if (!span_of(image, head->index6, bucket, &span))
        return 0;
    NARROW(image, head->ranges6, span, key, struct ranges6)
    struct ranges6 *ranges = block(image, head->ranges6 + span.first);
    if (!ranges)
        return 0;
    u32 count = ranges->count & 0xff, class = ranges->classes[0];
    u64 start = ranges->starts[0], next = ranges->starts[1];
    u32 at = 0;
#pragma unroll
    for (u32 i = 1; i < 4; i++)
        if (i < count && ranges->starts[i] <= key)
            at = i, start = ranges->starts[i], next = ranges->starts[i + 1], class = ranges->classes[i];
    u32 before = 0, after = 0;
    if (start)
        before = 65 - bit_length(key ^ (start - 1));
    if (!(ranges->count & LAST && at + 1 == count))
        after = 65 - bit_length(key ^ next);
    found->class = class;
    found->scope = before > after ? before : after;
    return class != PASS_CLASS;
}
