/* Reads a line for each fingerprint: its parts and, last, its body, in hexadecimal digits with a space after each. */
#include "testing.h"

int main(void)
{
	static char line[1 << 16];
	static unsigned char raw[1 << 15];
	while (fgets(line, sizeof line, stdin) != NULL) {
		unsigned char print[OO_FINGERPRINT_SIZE];
		oo_bytes fields[64];
		size_t count = 0, size = 0, begin = 0;
		unsigned digit;
		for (const char *at = line; *at != '\n' && *at != 0;) {
			if (*at == ' ') {
				fields[count++] = bytes(raw + begin, size - begin);
				begin = size;
				at++;
			} else {
				CHECK(sscanf(at, "%2x", &digit) == 1);
				raw[size++] = (unsigned char)digit;
				at += 2;
			}
		}
		CHECK(count > 0 && oo_fingerprint(fields, count - 1, fields[count - 1], print) == OO_OK);
		for (size_t i = 0; i < sizeof print; i++)
			printf("%02x", print[i]);
		putchar('\n');
	}
	return 0;
}
