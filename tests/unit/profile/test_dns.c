/* SPDX-License-Identifier: GPL-2.0-only */
#include "profile/dns.h"
#include "rows.h"

#define HEAD(flags, questions, answers) "\x12\x34" flags "\0" questions "\0" answers "\0\0\0\0"
#define ANSWER "\x81\x80"
#define NAME "\3www\7example\0"
#define QUESTION NAME "\0\1\0\1"
#define TTL "\0\0\1\x2c"
#define A(owner, last) owner "\0\1\0\1" TTL "\0\4\xc6\x33\x64" last
#define SELF "\xc0\x0c"
#define CNAME(owner, len, target) owner "\0\5\0\1" TTL "\0" len target
#define BYTES(text) GW_SLICE(text, sizeof(text) - 1)

static const char *line(const struct dns_answer *a)
{
    static char out[8192];
    char text[GW_HWADDR_TEXT];
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < a->name_count; i++)
        len += (size_t)snprintf(out + len, sizeof(out) - len, "%s ", a->names[i]);
    for (size_t i = 0; i < a->address_count; i++)
        len +=
            (size_t)snprintf(out + len, sizeof(out) - len, "%s/%u ",
                             gw_hwaddr_text(&a->addresses[i].address, text), a->addresses[i].ttl_s);
    return out;
}

Test(profile_dns, answers_are_read_and_faults_found)
{
    static const struct {
        const char *name;
        struct gw_slice bytes;
        const char *want; /* NULL: refused */
    } cases[] = {
        {"an address", BYTES(HEAD(ANSWER, "\1", "\1") QUESTION A(SELF, "\7")),
         "www.example 198.51.100.7/300 "},
        {"two", BYTES(HEAD(ANSWER, "\1", "\2") QUESTION A(SELF, "\7") A(SELF, "\x8")),
         "www.example 198.51.100.7/300 198.51.100.8/300 "},
        {"none", BYTES(HEAD(ANSWER, "\1", "\0") QUESTION), "www.example "},
        {"IPv6",
         BYTES(HEAD(ANSWER, "\1", "\1") NAME "\0\x1c\0\1" SELF "\0\x1c\0\1" TTL "\0\x10"
                                             "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\5"),
         "www.example 2001:db8::5/300 "},
        {"upper case", BYTES(HEAD(ANSWER, "\1", "\1") "\3WWW\7Example\0\0\1\0\1" A(NAME, "\7")),
         "www.example 198.51.100.7/300 "},
        {"an alias",
         BYTES(HEAD(ANSWER, "\1", "\2") QUESTION CNAME(SELF, "\7", "\3cdn\1b\0")
                   A("\3cdn\1b\0", "\7")),
         "www.example cdn.b 198.51.100.7/300 "},
        {"an alias, address first",
         BYTES(HEAD(ANSWER, "\1", "\2") QUESTION A("\3cdn\1b\0", "\7")
                   CNAME(SELF, "\7", "\3cdn\1b\0")),
         "www.example cdn.b 198.51.100.7/300 "},
        {"an alias of itself", BYTES(HEAD(ANSWER, "\1", "\1") QUESTION CNAME(SELF, "\2", SELF)),
         "www.example "},
        {"another name's address",
         BYTES(HEAD(ANSWER, "\1", "\2") QUESTION A("\3cdn\1b\0", "\7") A(SELF, "\x8")),
         "www.example 198.51.100.8/300 "},
        {"another name's alias",
         BYTES(HEAD(ANSWER, "\1", "\2") QUESTION CNAME("\1x\0", "\7", "\3cdn\1b\0")
                   A("\3cdn\1b\0", "\7")),
         "www.example "},
        {"loopback", BYTES(HEAD(ANSWER, "\1", "\1") QUESTION SELF "\0\1\0\1" TTL "\0\4\x7f\0\0\1"),
         "www.example "},
        {"a group", BYTES(HEAD(ANSWER, "\1", "\1") QUESTION SELF "\0\1\0\1" TTL "\0\4\xe0\0\0\1"),
         "www.example "},
        {"an address of another length",
         BYTES(HEAD(ANSWER, "\1", "\1") QUESTION SELF "\0\1\0\1" TTL "\0\3\x7f\0\0"),
         "www.example "},
        {"another class",
         BYTES(HEAD(ANSWER, "\1", "\1") QUESTION SELF "\0\1\0\3" TTL "\0\4\xc6\x33\x64\7"),
         "www.example "},
        {"a question", BYTES(HEAD("\1\0", "\1", "\0") QUESTION), NULL},
        {"no such name", BYTES(HEAD("\x81\x83", "\1", "\0") QUESTION), NULL},
        {"another operation", BYTES(HEAD("\xa9\x80", "\1", "\0") QUESTION), NULL},
        {"no question", BYTES(HEAD(ANSWER, "\0", "\1") A(NAME, "\7")), NULL},
        {"two questions", BYTES(HEAD(ANSWER, "\2", "\0") QUESTION QUESTION), NULL},
        {"more answers than there are", BYTES(HEAD(ANSWER, "\1", "\2") QUESTION A(SELF, "\7")),
         NULL},
        {"a name that never ends", BYTES(HEAD(ANSWER, "\1", "\0") "\xc0\x0c\0\1\0\1"), NULL},
        {"a pointer past the end", BYTES(HEAD(ANSWER, "\1", "\0") "\xcf\xff\0\1\0\1"), NULL},
        {"a name with a space", BYTES(HEAD(ANSWER, "\1", "\0") "\3a b\0\0\1\0\1"), NULL},
        {"the root", BYTES(HEAD(ANSWER, "\1", "\0") "\0\0\1\0\1"), NULL},
        {"nothing", BYTES(""), NULL},
        {"half a head", BYTES("\x12\x34\x81"), NULL},
        {"half a question", BYTES(HEAD(ANSWER, "\1", "\0") "\3ww"), NULL},
    };

    for (size_t i = 0; i < GW_COUNT(cases); i++) {
        struct dns_answer a;
        int err = dns_answer_read(cases[i].bytes, &a);

        cr_expect_eq(err, cases[i].want ? 0 : GW_EMALFORMED, "%s: %d", cases[i].name, err);
        if (!err && cases[i].want)
            cr_expect_str_eq(line(&a), cases[i].want, "%s: %s", cases[i].name, line(&a));
    }
}

Test(profile_dns, chains_and_records_have_an_end)
{
    uint8_t message[8192] = HEAD(ANSWER, "\1", "\x60") QUESTION;
    size_t len = 12 + sizeof(QUESTION) - 1;
    struct dns_answer a;

    /* 32 aliases, each of the next, then 64 addresses of the name itself: most are never read. */
    for (unsigned i = 0; i < 32; i++) {
        char owner[4] = {2, 'a', (char)('a' + i % 26), (char)0}, next[4] = {2, 'a', 0, 0};

        next[2] = (char)('a' + (i + 1) % 26);
        if (i == 0) {
            memcpy(message + len, SELF, 2);
            len += 2;
        } else {
            memcpy(message + len, owner, 4);
            len += 4;
        }
        memcpy(message + len, "\0\5\0\1" TTL "\0\4", 10);
        memcpy(message + len + 10, next, 4);
        len += 14;
    }
    for (unsigned i = 0; i < 64; i++) {
        memcpy(message + len, A(SELF, ""), 15);
        message[len + 15] = (uint8_t)i;
        len += 16;
    }
    cr_assert_eq(dns_answer_read(GW_SLICE(message, len), &a), 0);
    cr_expect_eq(a.name_count, 1 + DNS_ALIASES_MAX);
    cr_expect_eq(a.address_count, DNS_ADDRESSES_MAX);
}
