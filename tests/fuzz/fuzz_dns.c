/* SPDX-License-Identifier: GPL-2.0-only */
/* dns_answer_read on any bytes: what it finds is in its bounds, and names are host names. */
#include "fuzz.h"
#include "profile/dns.h"

static void check_address(const struct gw_hwaddr *a)
{
    MUST((a->kind == GW_ADDR_IPV4 && a->prefix_len == 32 && a->bytes[0] != 127 &&
          a->bytes[0] < 224) ||
         (a->kind == GW_ADDR_IPV6 && a->prefix_len == 128 && a->bytes[0] != 0xff));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char again[DNS_NAME_MAX + 1];
    struct dns_answer a;

    if (dns_answer_read(GW_SLICE(data, size), &a) != 0)
        return 0;
    MUST(a.name_count >= 1 && a.name_count <= 1 + DNS_ALIASES_MAX);
    MUST(a.address_count <= DNS_ADDRESSES_MAX);
    for (size_t i = 0; i < a.name_count; i++) {
        MUST(dns_name_normal(a.names[i], strlen(a.names[i]), again));
        MUST(strcmp(again, a.names[i]) == 0);
        for (size_t k = 0; k < i; k++)
            MUST(strcmp(a.names[k], a.names[i]) != 0);
    }
    for (size_t i = 0; i < a.address_count; i++)
        check_address(&a.addresses[i].address);
    return 0;
}
