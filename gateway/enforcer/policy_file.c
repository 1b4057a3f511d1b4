/* SPDX-License-Identifier: GPL-2.0-only */
/* Policies as bytes: from the worker, and on disk. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "enforcer/kept.h"
#include "enforcer/note.h"
#include "enforcer/policy.h"

#define FILE_NAME "policies"
#define MAGIC "CORDONp1"
#define FILE_BYTES_MAX (64 << 20)

/* ---- as bytes ---- */

int gw_policy_encode(const struct gw_policy *p, struct gw_buf *out)
{
    struct gw_note_policy head = {
        .number = p->number,
        .flags = p->flags,
        .packets_per_s = p->packets_per_s,
        .rule_count = (uint32_t)p->rule_count,
        .peer_count = (uint32_t)p->peer_count,
        .bytes_per_s = p->bytes_per_s,
        .any = p->any,
        .local = p->local,
        .gateway = p->gateway,
    };
    int err;

    if (p->rule_count > GW_POLICY_RULES_MAX || p->peer_count > GW_POLICY_PEERS_MAX)
        return GW_EFULL;
    memcpy(head.rules, p->rules, p->rule_count * sizeof(head.rules[0]));
    err = gw_buf_append(out, GW_SLICE(&head, sizeof(head)));
    if (!err && p->peer_count > 0)
        err = gw_buf_append(out, GW_SLICE(p->peers, p->peer_count * sizeof(*p->peers)));
    return err;
}

int gw_policy_decode(struct gw_slice file, struct gw_policy *out)
{
    struct gw_note_policy head;

    if (file.len < sizeof(head))
        return GW_EMALFORMED;
    memcpy(&head, file.ptr, sizeof(head));
    if (head.number == 0 || head.number > GW_POLICIES_MAX ||
        head.rule_count > GW_POLICY_RULES_MAX || head.peer_count > GW_POLICY_PEERS_MAX ||
        file.len != sizeof(head) + head.peer_count * sizeof(struct gw_policy_peer))
        return GW_EMALFORMED;
    *out = (struct gw_policy){
        .number = (uint16_t)head.number,
        .flags = head.flags,
        .packets_per_s = head.packets_per_s,
        .bytes_per_s = head.bytes_per_s,
        .any = head.any,
        .local = head.local,
        .gateway = head.gateway,
        .rule_count = head.rule_count,
        .peer_count = head.peer_count,
        .peers = (const void *)(file.ptr + sizeof(head)),
    };
    memcpy(out->rules, head.rules, head.rule_count * sizeof(head.rules[0]));
    return gw_policy_valid(out) ? 0 : GW_EMALFORMED;
}

/* ---- the copy on disk ---- */

static int append_policy(const struct gw_policy *p, struct gw_buf *out)
{
    uint32_t len =
        (uint32_t)(sizeof(struct gw_note_policy) + p->peer_count * sizeof(struct gw_policy_peer));
    int err = gw_buf_append(out, GW_SLICE(&len, sizeof(len)));

    return err ? err : gw_policy_encode(p, out);
}

int gw_policy_save(const struct gw_kernel *k, const char *state_dir)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf all = {.max = FILE_BYTES_MAX};
    uint64_t count = 0;
    int err = 0;

    for (uint32_t i = 1; !err && i < k->table.state->policies; i++) {
        struct gw_policy p;

        if (!gw_policy_is_set(k, i))
            continue;
        p = gw_policy_get(k, i);
        err = append_policy(&p, &all);
        count++;
    }
    return err ? err : gw_kept_save(state_dir, FILE_NAME, MAGIC, count, gw_buf_slice(&all));
}

/* One policy of the file; its bytes are copied to be aligned. */
static int load_one(struct gw_kernel *k, struct gw_slice file, uint16_t generation)
{
    GW_CLEANUP(gw_free_ptr) uint8_t *copy = malloc(file.len + 1);
    struct gw_policy p;
    int err;

    if (!copy)
        return -ENOMEM;
    memcpy(copy, file.ptr, file.len);
    err = gw_policy_decode(GW_SLICE(copy, file.len), &p);
    if (!err && p.number == gw_policy_of_tests(k))
        err = GW_EFULL;
    return err ? err : gw_policy_set(k, &p, generation);
}

/* Each of them that can be read. How many; the first error when that was not all of them. */
static int load_all(struct gw_kernel *k, struct gw_slice rest, uint64_t count, uint16_t generation)
{
    int err = 0, set = 0;

    for (uint64_t i = 0; i < count; i++) {
        uint32_t len;
        int one;

        if (rest.len < sizeof(len))
            return GW_EMALFORMED;
        memcpy(&len, rest.ptr, sizeof(len));
        if (len > rest.len - sizeof(len))
            return GW_EMALFORMED;
        one = load_one(k, GW_SLICE(rest.ptr + sizeof(len), len), generation);
        rest = GW_SLICE(rest.ptr + sizeof(len) + len, rest.len - sizeof(len) - len);
        set += one == 0;
        err = err ? err : one;
    }
    if (rest.len > 0) /* the count is not under the sum */
        return GW_EMALFORMED;
    return err ? err : set;
}

int gw_policy_load(struct gw_kernel *k, const char *state_dir, uint16_t generation)
{
    GW_CLEANUP(gw_buf_fini) struct gw_buf file = {.max = FILE_BYTES_MAX};
    struct gw_kept_header h;
    int result = gw_kept_load(state_dir, FILE_NAME, &file, &h);
    size_t closed;

    if (!result && memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0)
        result = GW_EMALFORMED;
    if (!result) {
        struct gw_slice all = gw_buf_slice(&file);

        result =
            load_all(k, GW_SLICE(all.ptr + sizeof(h), all.len - sizeof(h)), h.count, generation);
    }
    closed = gw_policy_close_unknown(k);
    if (closed > 0)
        gw_log_error("what some devices may do cannot be read back: they may do nothing until the "
                     "worker repeats it policies=%zu",
                     closed);
    return result;
}
