#include "internal.h"

#include <string.h>

/* Reads one character of UTF-8 from text, which is not empty. Returns its length, or 0 if it is none: too long a form, half of a surrogate
 * pair, beyond U+10FFFF, cut short. */
static size_t decode(const unsigned char *text, size_t size, uint32_t *rune)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char c = text[0];
	size_t length = c < 0x80 ? 1 : c >= 0xc0 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf8 ? 4 : 0;
	uint32_t value = length == 1 ? c : c & (0x7fu >> length);
	if (length == 0 || length > size)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (text[i] & 0x3f);
	}
	if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return 0;
	*rune = value;
	return length;
}

static int is_space(uint32_t rune)
{
	return rune == ' ' || rune == 0xa0 || rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200a) || rune == 0x2028 || rune == 0x2029 ||
		rune == 0x202f || rune == 0x205f || rune == 0x3000;
}

/* The rule of the Go library's Key.Check, to which the tests compare it. */
static int storable(oo_bytes text)
{
	const unsigned char *at = text.data;
	size_t left = text.size, length;
	uint32_t rune;
	int blank = 1;
	if (at == NULL || left == 0 || left > OO_MAX_KEY)
		return 0;
	for (; left > 0; at += length, left -= length) {
		if ((length = decode(at, left, &rune)) == 0 || rune < 0x20 || (rune >= 0x7f && rune <= 0x9f))
			return 0;
		blank = blank && is_space(rune);
	}
	return !blank;
}

static int missing(oo_bytes bytes) { return bytes.data == NULL && bytes.size > 0; }

int oi_check_operation(const oo_operation *operation, oo_error **error)
{
	if (operation == NULL)
		return oi_fail(error, OO_EINVAL, "operation is NULL: say which one is meant");
	if (!storable(operation->scope))
		return oi_fail(error, OO_EKEY, "the scope must have 1 to 255 bytes of UTF-8 without control characters, and must not be blank");
	if (!storable(operation->key))
		return oi_fail(error, OO_EKEY, "the key must have 1 to 255 bytes of UTF-8 without control characters, and must not be blank");
	if (missing(operation->fingerprint) || (operation->fingerprint.size != 0 && operation->fingerprint.size != OO_FINGERPRINT_SIZE))
		return oi_fail(error, OO_EINVAL, "the fingerprint must have 33 bytes, as oo_fingerprint makes them, or none");
	return OO_OK;
}

int oi_check_owner(oo_bytes owner, int needed, oo_error **error)
{
	if (missing(owner) || (owner.size != OO_OWNER_SIZE && (needed || owner.size != 0)))
		return oi_fail(error, OO_EINVAL, "the owner must be what the result of begin or checkpoint has as its owner");
	return OO_OK;
}

static int in_name(unsigned char c) { return c > 0x20 && c < 0x7f && strchr("\"(),/:;<=>?@[\\]{}", c) == NULL; }

static int canonical(const char *name, size_t size)
{
	int upper = 1;
	for (size_t i = 0; i < size; i++) {
		char c = name[i];
		if (!in_name((unsigned char)c) || (upper && c >= 'a' && c <= 'z') || (!upper && c >= 'A' && c <= 'Z'))
			return 0;
		upper = c == '-';
	}
	return size > 0;
}

/* Those that belong to one connection, one moment or one caller's credentials. */
static int never_replayed(const char *name, size_t size)
{
	static const char *const names[] = {
		"Authorization", "Connection", "Content-Length", "Date", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Connection", "Set-Cookie", "Set-Cookie2", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Www-Authenticate",
	};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0)
			return 1;
	return 0;
}

/* The rule of the Go library's DecodeHeader, to which the tests compare it: what it refuses would be stored and never replayed. */
static const char *wrong_headers(oo_bytes headers)
{
	const char *at = headers.data;
	size_t left = headers.size;
	while (left > 0) {
		size_t name = 0, value;
		while (name < left && at[name] != ':')
			name++;
		if (!canonical(at, name) || left - name < 2 || at[name + 1] != ' ')
			return "headers must be \"Name: value\\r\\n\" for each, with names in their canonical case, such as Content-Type";
		if (never_replayed(at, name))
			return "headers has one that must not be stored, since it belongs to one connection, moment or credential: leave it out";
		for (value = name + 2; value < left && at[value] != '\r'; value++) {
			unsigned char c = (unsigned char)at[value];
			if ((c < 0x20 && c != '\t') || c == 0x7f)
				return "headers has a control character in a value";
		}
		if (left - value < 2 || at[value + 1] != '\n')
			return "headers must end each value with \"\\r\\n\"";
		at += value + 2;
		left -= value + 2;
	}
	return NULL;
}

int oi_check_response(const oo_response *response, oo_error **error)
{
	const char *wrong;
	if (response == NULL || missing(response->headers) || missing(response->body))
		return oi_fail(error, OO_EINVAL, "response, or the data of a part of it, is NULL");
	if (response->status != 0 && (response->status < 200 || response->status > 599))
		return oi_fail(error, OO_EINVAL, "status must be from 200 to 599, or 0 outside of HTTP");
	if (response->headers.size > OO_MAX_HEADERS || response->body.size > OO_MAX_BODY)
		return oi_fail(error, OO_ETOOLARGE, "the response is larger than OO_MAX_HEADERS or OO_MAX_BODY: nothing was stored");
	if ((wrong = wrong_headers(response->headers)) != NULL)
		return oi_fail(error, OO_EINVAL, wrong);
	return OO_OK;
}
