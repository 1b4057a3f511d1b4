/* SPDX-License-Identifier: GPL-2.0-only */
/* The room on a registry of its own, with a camera in it, and what it tells whom. */
#pragma once

#include "enforcer.h"
#include "site.h"

#include "quarantine/quarantine.h"

/* ---- what the kernel was told last about the address ---- */

static inline const char *in_kernel(const char *addr)
{
    struct gw_hwaddr a = addr_of(addr);
    const struct gw_judgement *j = kernel_last(&a);

    return j ? gw_mode_text((enum gw_verdict_mode)j->mode) : "never";
}

static inline int64_t until_in_kernel(const char *addr)
{
    struct gw_hwaddr a = addr_of(addr);
    const struct gw_judgement *j = kernel_last(&a);

    return j ? j->until_wall_ms : -1;
}

/* ---- the room under test ---- */

static struct gw_quarantine *quarantine;
static struct gw_journal_listener listener;
static char told[8192];   /* what sessions were told: "-cam;" closed, "+cam;" let in */
static char alerts[8192]; /* "quarantine cam;release cam;" */
static char last_json[4096];
static char told_text[8192]; /* the alerts themselves */
static int done_count, done_err;

static inline void changed(void *owner, const char *device, const struct gw_verdict *v)
{
    size_t used = strlen(told);

    (void)owner;
    (void)snprintf(told + used, sizeof(told) - used, "%c%s;", v ? '-' : '+', device);
}

static char cut[256]; /* who was to hear why before the kernel knew so many addresses */

static inline void cutting(void *owner, const char *device, const struct gw_verdict *v)
{
    size_t used = strlen(cut);

    (void)owner;
    (void)snprintf(cut + used, sizeof(cut) - used, "%s %s %zu;", device, v->reason, kernel.count);
}

static inline void note(void *owner, const struct gw_event *ev)
{
    size_t used = strlen(alerts);

    (void)owner;
    (void)snprintf(alerts + used, sizeof(alerts) - used, "%s %s;", ev->kind, ev->device);
    (void)snprintf(last_json, sizeof(last_json), "%s", ev->json);
    used = strlen(told_text);
    (void)snprintf(told_text + used, sizeof(told_text) - used, "%s\n", ev->json);
}

static inline void done(void *owner, int err)
{
    cr_expect_eq(owner, &quarantine);
    done_count++;
    done_err = err;
}

static char policy_for[GW_DEVICE_ID_MAX + 1]; /* who has a policy, and which */
static uint16_t policy_number;

static inline uint16_t policy_of(void *owner, const char *device)
{
    (void)owner;
    return strcmp(device, policy_for) == 0 ? policy_number : 0;
}

static const struct gw_quarantine_ops ops = {
    .changed = changed, .cutting = cutting, .policy_of = policy_of};

static inline void watch_journal(void)
{
    listener = (struct gw_journal_listener){.event = note};
    gw_journal_listen(site.journal, &listener);
}

static inline void open_quarantine(void)
{
    cr_assert_eq(gw_quarantine_open(site.loop, site.config, site.store, site.journal, site.devices,
                                    &ops, &quarantine),
                 0);
}

static inline void world_open(void)
{
    site_open();
    (void)heard(1, "192.0.2.1", "lan1");
    (void)proved("cam", "192.0.2.1", 1);
    (void)heard(1, "2001:db8::1", "lan1");
    (void)heard(9, "192.0.2.9", "lan1");
    watch_journal();
    open_quarantine();
    kernel_forget();
    gw_quarantine_start(quarantine, &kernel);
    kernel_forget(); /* without what it hears of approved devices at the start */
}

static inline void world_close(void)
{
    gw_quarantine_close(&quarantine);
    site_close();
}

static inline void restart(void)
{
    gw_quarantine_close(&quarantine);
    site_fall();
    site_rise();
    watch_journal();
    open_quarantine();
    kernel_forget();
    told[0] = alerts[0] = '\0';
}

/* The kernel answers what it was not asked before with `err`. */
static inline void answer(int err)
{
    while (kernel.answered < kernel.count)
        gw_quarantine_applied(quarantine, kernel.sent[kernel.answered++].token, err);
}

static inline void settle(void)
{
    answer(0);
    site_settle();
    answer(0);
    site_settle();
}

/* Whoever became protected is looked for a tick of the loop later. */
static inline void look(void)
{
    settle();
    pass_ms(site.loop, 8);
    settle();
}

/* ---- what is done to it ---- */

static inline int cut_off(const char *id, uint64_t seconds)
{
    done_count = 0;
    return gw_quarantine_device(quarantine, id, GW_MODE_ISOLATE, seconds, "spoke too much", "admin",
                                done, &quarantine);
}

static inline int cut_off_addr(const char *addr)
{
    struct gw_hwaddr a = addr_of(addr);

    done_count = 0;
    return gw_quarantine_addr(quarantine, &a, GW_MODE_ISOLATE, 0, "", "admin", done, &quarantine);
}

static inline int release(const char *id)
{
    done_count = 0;
    return gw_quarantine_release_device(quarantine, id, "admin", done, &quarantine);
}

static inline const char *take(char *text)
{
    static char copy[8192];

    (void)strcpy(copy, text);
    text[0] = '\0';
    return copy;
}

static inline void strike(const char *id, enum gw_strike kind, unsigned times, uint64_t every_ms)
{
    for (unsigned i = 0; i < times; i++) {
        gw_quarantine_strike(quarantine, id, kind);
        pass_ms(site.loop, every_ms);
    }
}

static inline bool may_claim(unsigned n, const char *ip, const char *ifname)
{
    uint8_t mac[6];

    mac_of(n, mac);
    return gw_quarantine_may_claim(quarantine, mac, ip ? ip_of(ip) : NULL, ifname);
}

static inline int observe(const char *id, uint64_t seconds)
{
    return gw_quarantine_device(quarantine, id, GW_MODE_OBSERVE, seconds, "looks odd", "admin",
                                done, &quarantine);
}

static inline char *protected_id(const char *id)
{
    char *copy = strdup(id);

    cr_assert_not_null(copy);
    site.config->quarantine.protected_devices[0] = copy; /* freed with the configuration */
    site.config->quarantine.protected_device_count = 1;
    return copy;
}

static struct gw_config_rule *kept_rules;

static inline void rule_is(const struct gw_config_rule *r)
{
    static struct gw_config_rule rules[1];

    rules[0] = *r;
    kept_rules = site.config->quarantine.rules;
    site.config->quarantine.rules = rules;
    site.config->quarantine.rule_count = 1;
    gw_quarantine_reload(quarantine, site.config);
}

static inline void rules_as_before(void)
{
    site.config->quarantine.rules = kept_rules;
    site.config->quarantine.rule_count = 0;
}
