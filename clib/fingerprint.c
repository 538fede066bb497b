/* SHA-256 (FIPS 180-4) in C, since a forked child must be able to make fingerprints, and the Go runtime is not there. */
#include "internal.h"

#include <string.h>

typedef struct digest {
	uint32_t state[8];
	uint64_t size;
	unsigned char block[64];
} digest;

static const uint32_t constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
	0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
	0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
	0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
	0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
	0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void compress(digest *d)
{
	uint32_t w[64], s[8];
	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)d->block[4 * i] << 24 | (uint32_t)d->block[4 * i + 1] << 16 | (uint32_t)d->block[4 * i + 2] << 8 | d->block[4 * i + 3];
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) +
			(turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
	memcpy(s, d->state, sizeof s);
	for (int i = 0; i < 64; i++) {
		uint32_t a = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
		uint32_t b = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
		memmove(s + 1, s, 7 * sizeof *s);
		s[4] += a;
		s[0] = a + b;
	}
	for (int i = 0; i < 8; i++)
		d->state[i] += s[i];
}

static void add(digest *d, const void *data, size_t size)
{
	const unsigned char *at = data;
	while (size > 0) {
		size_t used = (size_t)(d->size % 64), fits = 64 - used < size ? 64 - used : size;
		memcpy(d->block + used, at, fits);
		d->size += fits;
		at += fits;
		size -= fits;
		if (used + fits == 64)
			compress(d);
	}
}

/* Adds n in this many bytes, big-endian. */
static void add_number(digest *d, uint64_t n, int bytes)
{
	unsigned char out[8];
	for (int i = 0; i < bytes; i++)
		out[i] = (unsigned char)(n >> 8 * (bytes - 1 - i));
	add(d, out, (size_t)bytes);
}

static void finish(digest *d, unsigned char out[32])
{
	uint64_t bits = d->size * 8;
	add(d, "\x80", 1);
	while (d->size % 64 != 56)
		add(d, "", 1);
	add_number(d, bits, 8);
	for (int i = 0; i < 32; i++)
		out[i] = (unsigned char)(d->state[i / 4] >> (24 - 8 * (i % 4)));
}

/* The recipe of the Go library's Fingerprinter, version 1: each part goes in with its length, so that no two lists give the same input. */
int oo_fingerprint(const oo_bytes *parts, size_t count, oo_bytes body, unsigned char fingerprint[OO_FINGERPRINT_SIZE])
{
	digest d = { .state = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
	if (fingerprint == NULL || (parts == NULL && count > 0) || count > UINT32_MAX || (body.data == NULL && body.size > 0))
		return OO_EINVAL;
	add(&d, "\x01", 1);
	add_number(&d, count, 4);
	for (size_t i = 0; i < count; i++) {
		if (parts[i].data == NULL && parts[i].size > 0)
			return OO_EINVAL;
		add_number(&d, parts[i].size, 8);
		add(&d, parts[i].data, parts[i].size);
	}
	add_number(&d, body.size, 8);
	add(&d, body.data, body.size);
	fingerprint[0] = 1;
	finish(&d, fingerprint + 1);
	return OO_OK;
}
