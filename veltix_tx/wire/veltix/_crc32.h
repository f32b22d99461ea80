/* CRC-32 (the polynomial of zlib, bits reflected).

   Three ways with one result: eight bytes a step by table, on any machine; where the processor multiplies without carries
   (PCLMULQDQ, found out when the module is loaded) sixteen to sixty-four bytes a step; and where it does so in four lanes
   (VPCLMULQDQ) 256, of what is long. */

#ifndef VELTIX_TX_CRC32_H
#define VELTIX_TX_CRC32_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define CRC32_CARRYLESS 1
#include <emmintrin.h>
#include <smmintrin.h>
#include <wmmintrin.h>
#else
#define CRC32_CARRYLESS 0
#endif

#if CRC32_CARRYLESS && (__GNUC__ >= 11 || (defined(__clang__) && __clang_major__ >= 14))
#define CRC32_LANES 1
#include <immintrin.h>
#else
#define CRC32_LANES 0
#endif

static uint32_t crc32_table[8][256];
static int crc32_carryless, crc32_lanes;

static void
crc32_prepare(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) ? 0xEDB88320u : 0u);
        }
        crc32_table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int slice = 1; slice < 8; slice++) {
            uint32_t crc = crc32_table[slice - 1][byte];
            crc32_table[slice][byte] = (crc >> 8) ^ crc32_table[0][crc & 0xFF];
        }
    }
#if CRC32_CARRYLESS
    __builtin_cpu_init();
    crc32_carryless = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
#if CRC32_LANES
    crc32_lanes = crc32_carryless && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
#endif
}

static uint32_t
crc32_by_table(uint32_t crc, const unsigned char *at, size_t size)
{
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
        crc = crc32_table[7][low & 0xFF] ^ crc32_table[6][low >> 8 & 0xFF] ^ crc32_table[5][low >> 16 & 0xFF]
            ^ crc32_table[4][low >> 24] ^ crc32_table[3][at[4]] ^ crc32_table[2][at[5]] ^ crc32_table[1][at[6]]
            ^ crc32_table[0][at[7]];
    }
    for (; size > 0; at++, size--) {
        crc = crc >> 8 ^ crc32_table[0][(crc ^ *at) & 0xFF];
    }
    return crc;
}

#if CRC32_CARRYLESS

#define CARRYLESS static inline __attribute__((target("pclmul,sse4.1"), always_inline))

/* x moved on by as far as the constants say, and what stands there added. */
CARRYLESS __m128i
crc32_fold(__m128i x, __m128i constants, __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(x, constants, 0x00);
    __m128i high = _mm_clmulepi64_si128(x, constants, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

CARRYLESS __m128i
crc32_load(const unsigned char *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

/* Bytes of x moved towards the high end (from + 16) or the low end (from - 16), zeros behind them. */
static const unsigned char crc32_moves[48] = {
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, /* */
    0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,   15,   /* */
    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
};

CARRYLESS __m128i
crc32_moved(__m128i x, const unsigned char *move)
{
    return _mm_shuffle_epi8(x, crc32_load(move));
}

#if CRC32_LANES

#define FOUR_LANES __attribute__((target("avx512f,vpclmulqdq")))

FOUR_LANES static inline __m512i
crc32_fold_lanes(__m512i x, __m512i constants, __m512i next)
{
    return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(x, constants, 0x00),
                                     _mm512_clmulepi64_epi128(x, constants, 0x11), next, 0x96);
}

/* The first bytes, a multiple of 64 and at least 256, folded into 64 for crc32_by_folding() to go on with. x: the first 16. */
FOUR_LANES static void
crc32_by_lanes(__m128i x, const unsigned char *at, size_t size, unsigned char folded[64])
{
    const __m512i by_2048_bits = _mm512_broadcast_i32x4(_mm_set_epi64x(0x01322d1430, 0x011542778a));
    const __m512i by_512_bits = _mm512_broadcast_i32x4(_mm_set_epi64x(0x01c6e41596, 0x0154442bd4));
    __m512i first = _mm512_inserti32x4(_mm512_loadu_si512(at), x, 0), second = _mm512_loadu_si512(at + 64);
    __m512i third = _mm512_loadu_si512(at + 128), fourth = _mm512_loadu_si512(at + 192);
    at += 256, size -= 256;
    for (; size >= 256; at += 256, size -= 256) {
        first = crc32_fold_lanes(first, by_2048_bits, _mm512_loadu_si512(at));
        second = crc32_fold_lanes(second, by_2048_bits, _mm512_loadu_si512(at + 64));
        third = crc32_fold_lanes(third, by_2048_bits, _mm512_loadu_si512(at + 128));
        fourth = crc32_fold_lanes(fourth, by_2048_bits, _mm512_loadu_si512(at + 192));
    }
    first = crc32_fold_lanes(first, by_512_bits, second);
    first = crc32_fold_lanes(first, by_512_bits, third);
    first = crc32_fold_lanes(first, by_512_bits, fourth);
    for (; size >= 64; at += 64, size -= 64) {
        first = crc32_fold_lanes(first, by_512_bits, _mm512_loadu_si512(at));
    }
    _mm512_storeu_si512(folded, first);
}

#endif

/* size: at least 16. The constants are powers of x modulo the polynomial, bits reflected. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t
crc32_by_folding(uint32_t crc, const unsigned char *at, size_t size)
{
    const __m128i by_512_bits = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
    const __m128i by_128_bits = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i by_64_bits = _mm_set_epi64x(0, 0x0163cd6124);
    const __m128i polynomial = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i low_halves = _mm_set_epi32(0, -1, 0, -1);

    __m128i before = _mm_cvtsi32_si128((int)crc), x = _mm_xor_si128(crc32_load(at), before);
    const size_t odd = size & 15;
    if (odd) { /* come first, behind as many zeros as make sixteen of them: those change nothing */
        x = crc32_moved(x, crc32_moves + odd);
        before = crc32_moved(before, crc32_moves + 16 + odd);
        at += odd, size -= odd;
        x = crc32_fold(x, by_128_bits, _mm_xor_si128(crc32_load(at), before));
    }
#if CRC32_LANES
    unsigned char folded[64];
    if (crc32_lanes && size >= 1024) {
        crc32_by_lanes(x, at, size & ~(size_t)63, folded);
        x = crc32_load(folded);
        for (int lane = 16; lane < 64; lane += 16) {
            x = crc32_fold(x, by_128_bits, crc32_load(folded + lane));
        }
        at += size & ~(size_t)63, size &= 63;
    }
    else
#endif
    if (size >= 64) {
        __m128i second = crc32_load(at + 16), third = crc32_load(at + 32), fourth = crc32_load(at + 48);
        at += 64, size -= 64;
        for (; size >= 64; at += 64, size -= 64) {
            x = crc32_fold(x, by_512_bits, crc32_load(at));
            second = crc32_fold(second, by_512_bits, crc32_load(at + 16));
            third = crc32_fold(third, by_512_bits, crc32_load(at + 32));
            fourth = crc32_fold(fourth, by_512_bits, crc32_load(at + 48));
        }
        x = crc32_fold(x, by_128_bits, second);
        x = crc32_fold(x, by_128_bits, third);
        x = crc32_fold(x, by_128_bits, fourth);
    }
    else {
        at += 16, size -= 16;
    }
    for (; size >= 16; at += 16, size -= 16) {
        x = crc32_fold(x, by_128_bits, crc32_load(at));
    }

    /* 128 bits to 64, to 32 (Barrett). */
    x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, by_128_bits, 0x10));
    x = _mm_xor_si128(_mm_srli_si128(x, 4), _mm_clmulepi64_si128(_mm_and_si128(x, low_halves), by_64_bits, 0x00));
    __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(x, low_halves), polynomial, 0x10);
    x = _mm_xor_si128(x, _mm_clmulepi64_si128(_mm_and_si128(quotient, low_halves), polynomial, 0x00));
    return (uint32_t)_mm_extract_epi32(x, 1);
}

#endif

/* Of what comes after bytes with the CRC given, 0 for none, as zlib's crc32() counts. */
static uint32_t
crc32_after(uint32_t before, const unsigned char *at, size_t size)
{
    uint32_t crc = ~before;
#if CRC32_CARRYLESS
    if (crc32_carryless && size >= 16) {
        return ~crc32_by_folding(crc, at, size);
    }
#endif
    return ~crc32_by_table(crc, at, size);
}

static uint32_t
crc32_of(const unsigned char *at, size_t size)
{
    return crc32_after(0, at, size);
}

#endif
