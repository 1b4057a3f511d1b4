/* SPDX-License-Identifier: GPL-2.0-only */
#include "admin/admin_priv.h"
#include "admin/routes.h"
#include "world.h"

static json_t *description(struct world *w)
{
    struct reply r = world_ask(w, LOCAL, "GET", "/api/v1/openapi.json", NULL, NULL);
    json_t *json = json_loads(r.body, 0, NULL);

    cr_assert_eq(r.status, 200);
    cr_assert_not_null(json, "%.200s", r.body);
    reply_free(&r);
    return json;
}

/* Every {"$ref": "#/components/schemas/X"} below `json` leads somewhere. */
static size_t check_refs(const json_t *json, json_t *schemas)
{
    static const char before[] = "#/components/schemas/";
    const char *name, *ref = json_string_value(json_object_get(json, "$ref"));
    size_t count = ref != NULL, i;
    json_t *value;

    if (ref) {
        cr_expect_eq(strncmp(ref, before, sizeof(before) - 1), 0, "%s", ref);
        cr_expect(json_is_object(json_object_get(schemas, ref + sizeof(before) - 1)), "%s", ref);
    }
    json_object_foreach((json_t *)(uintptr_t)json, name, value) count += check_refs(value, schemas);
    json_array_foreach(json, i, value) count += check_refs(value, schemas);
    return count;
}

/* Every {name} of the path is a parameter of the call. */
static void check_parameters(const char *path, const json_t *call)
{
    const char *open = strchr(path, '{');
    json_t *parameters = json_object_get(call, "parameters"), *p;
    bool found = !open;
    size_t i;

    cr_expect_null(strchr(path, '*'), "%s", path);
    json_array_foreach(parameters, i, p)
    {
        const char *name = json_string_value(json_object_get(p, "name"));
        const char *in = json_string_value(json_object_get(p, "in"));

        cr_assert(name && in);
        if (open && strcmp(in, "path") == 0)
            found = strncmp(open + 1, name, strlen(name)) == 0 && open[1 + strlen(name)] == '}';
    }
    cr_expect(found, "%s has an undeclared parameter", path);
}

Test(admin_openapi, describes_every_call_and_no_other)
{
    static const char *const summaries[] = {
#define X(methods, path, handle, who, summary, ...) summary,
        ADMIN_ROUTES(X)
#undef X
    };
    size_t described = 0, rows = 0;
    const char *path, *method;
    json_t *json, *item, *call;
    struct world w;

    world_open(&w);
    json = description(&w);
    json_object_foreach(json_object_get(json, "paths"), path, item)
    {
        json_object_foreach(item, method, call)
        {
            described++;
            check_parameters(path, call);
            cr_expect(json_is_string(json_object_get(call, "summary")), "%s", path);
            cr_expect(json_is_object(json_object_get(call, "responses")), "%s", path);
            cr_expect_eq(!json_object_get(call, "requestBody"),
                         strcmp(method, "get") == 0 || strcmp(method, "delete") == 0, "%s %s",
                         method, path);
        }
    }
    for (size_t i = 0; i < GW_COUNT(summaries); i++)
        rows += summaries[i] != NULL;
    cr_expect_eq(described, rows);
    cr_expect_gt(check_refs(json, json_object_get(json_object_get(json, "components"), "schemas")),
                 100);
    json_decref(json);
    world_close(&w);
}
