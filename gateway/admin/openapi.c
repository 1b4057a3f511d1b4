/* SPDX-License-Identifier: GPL-2.0-only */
/* openapi.json: the paths from the route table, the schemas from here. */
#include <stdio.h>

#include "admin/admin_priv.h"
#include "admin/routes.h"

struct call {
    unsigned method;
    const char *path;
    unsigned who;
    const char *summary, *query, *body;
    int status;
    const char *answer;
};

static const struct call calls[] = {
#define X(methods, path, handle, who, summary, query, body, status, answer)                        \
    {methods, path, who, summary, query, body, status, answer},
    ADMIN_ROUTES(X)
#undef X
};

/* JSON Schema 2020-12, single quotes for double ones. */
static const struct {
    const char *name, *schema;
} schemas[] = {
    {"Text", "{'type':'string'}"},
    {"Count", "{'type':'integer','minimum':0}"},
    {"Time", "{'type':'string','format':'date-time'}"},
    {"TimeOrNull", "{'type':['string','null'],'format':'date-time'}"},
    {"Mode", "{'enum':['isolate','remediate','observe']}"},
    {"Role", "{'enum':['viewer','admin']}"},
    {"Name", "{'type':'string','pattern':'^[A-Za-z0-9._-]{1,64}$'}"},
    {"Nothing", "{'type':'object','additionalProperties':false}"},
    {"OpenApi", "{'type':'object'}"},
    {"Stream", "{'type':'string','description':'One event a message; id is its number, data the "
               "Event as JSON.'}"},
    {"Problem", "{'type':'object','required':['type','status','title','detail'],'properties':{"
                "'type':#Text,'status':#Count,'title':#Text,'detail':#Text,"
                "'setup':{'type':'boolean'}}}"},
    {"Status",
     "{'type':'object','required':['version','gateway','uptime_s','devices','uplink','isolation'],"
     "'properties':{'version':#Text,'gateway':{'type':'object','properties':{'id':#Text,"
     "'name':#Text}},'uptime_s':#Count,'devices':{'type':'object','properties':{'known':#Count,"
     "'online':#Count,'pending':#Count,'quarantined':#Count}},'uplink':#Uplink,"
     "'broker':#Broker,'isolation':#Isolation,'security':{'type':'object','properties':{'sandbox':#"
     "Text,"
     "'aes':#Text,'ciphers':#Text}}}}"},
    {"Uplink", "{'type':'object','properties':{'state':{'enum':['off','connecting','connected']},"
               "'broker':#Text,'spooled_messages':#Count,'spooled_bytes':#Count,'in_flight':#Count,"
               "'acknowledged':#Count,'last_error':{'type':['string','null']}}}"},
    {"Broker",
     "{'type':'object','properties':{'connections':#Count,'sessions':#Count,"
     "'subscriptions':#Count,'retained':#Count,'queued':#Count,'queued_bytes':#Count,"
     "'received':#Count,'sent':#Count,'dropped':#Count,'limits':{'type':'object',"
     "'additionalProperties':{'type':'object','properties':{'max':#Count,'reached':#Count}}}}}"},
    {"Isolation", "{'type':'object','properties':{'state':{'enum':['enforcing','degraded','off']},"
                  "'verdicts':#Count,'interfaces':#Ports,'test':{'anyOf':[{'type':'null'},#"
                  "IsolationTestSummary]}}}"},
    {"IsolationReport",
     "{'type':'object','properties':{'state':{'enum':['enforcing','degraded','off']},"
     "'verdicts':#Count,'interfaces':#Ports,"
     "'test':{'anyOf':[{'type':'null'},#IsolationTest]}}}"},
    {"Ports",
     "{'type':'array','items':{'type':'object','properties':{'name':#Text,"
     "'ingress':{'enum':['native','generic','tc','none']},"
     "'egress':{'enum':['tcx','clsact','none']},'dropped_packets':#Count,'dropped_bytes':#Count,"
     "'up':{'type':'boolean'},'reason':#Text,'bypass':#Texts,'notes':#Texts}}}"},
    {"IsolationTestSummary", "{'type':'object','properties':{'at':#Time,'took_ms':#Count,"
                             "'passed':#Count,'failed':#Count,'skipped':#Count}}"},
    {"IsolationTest",
     "{'allOf':[#IsolationTestSummary,{'type':'object','properties':{'checks':{'type':'array',"
     "'items':{'type':'object','properties':{'name':#Text,'where':#Text,"
     "'result':{'enum':['passed','failed','skipped']},'detail':#Text}}}}}]}"},
    {"Device",
     "{'type':'object','properties':{'id':#Name,'name':#Text,"
     "'state':{'enum':['seen','pending','approved','revoked']},'class':#Text,'vendor':#Text,"
     "'hostname':#Text,'first_seen':#TimeOrNull,'last_seen':#TimeOrNull,"
     "'addresses':{'type':'object','properties':{'mac':#Texts,'ipv4':#Texts,'ipv6':#Texts}},"
     "'presence':#Presence,'quarantine':{'anyOf':[{'type':'null'},#Quarantine]},"
     "'traffic':{'type':'object','properties':{'rx_packets':#Count,'rx_bytes':#Count,"
     "'tx_packets':#Count,'tx_bytes':#Count}}}}"},
    {"Texts", "{'type':'array','items':#Text}"},
    {"Devices", "{'type':'array','items':#Device}"},
    {"Presence",
     "{'type':'object','properties':{'status':{'enum':['online','offline','asleep']},"
     "'since':#TimeOrNull,'cause':{'enum':['connect','left','reset','keepalive','missed',"
     "'unplugged','asleep','quarantined','revoked','diverted','outage','shutdown',null]}}}"},
    {"Occupancy",
     "{'type':'object','properties':{'occupancy':#Count,'devices':{'type':'array','items':{"
     "'allOf':[{'type':'object','properties':{'device':#Name}},#Presence]}}}}"},
    {"Quarantine",
     "{'type':'object','properties':{'mode':#Mode,'reason':#Text,'by':#Text,'since':#TimeOrNull,"
     "'until':#TimeOrNull,'dropped_packets':#Count,'dropped_bytes':#Count,"
     "'address':{'type':['string','null'],'description':'Not the whole device: only this address, "
     "or with all of this network.'}}}"},
    {"Verdicts", "{'type':'array','items':{'allOf':[{'type':'object','properties':{"
                 "'device':{'type':['string','null']},'number':#Count}},#Quarantine]}}"},
    {"Order",
     "{'type':'object','additionalProperties':false,'properties':{'mode':#Mode,'seconds':#Count,"
     "'reason':{'type':'string','maxLength':200}}}"},
    {"AddressOrder",
     "{'type':'object','additionalProperties':false,'required':['address'],'properties':{"
     "'address':#Text,'mode':#Mode,'seconds':#Count,'reason':{'type':'string','maxLength':200}}}"},
    {"AddressOrders",
     "{'anyOf':[#AddressOrder,{'type':'array','minItems':1,'maxItems':10000,'items':"
     "#AddressOrder}]}"},
    {"Addresses",
     "{'type':'array','minItems':1,'maxItems':10000,'items':{'type':'object',"
     "'additionalProperties':false,'required':['address'],'properties':{'address':#Text}}}"},
    {"BatchResult", "{'type':'object','required':['done','refused'],'properties':{'done':#Count,"
                    "'refused':{'type':'array','items':{'type':'object','properties':{"
                    "'address':#Text,'detail':#Text}}}}}"},
    {"Approval", "{'type':'object','additionalProperties':false,'properties':{"
                 "'name':{'type':'string','maxLength':64},'class':{'type':'string',"
                 "'pattern':'^[A-Za-z0-9._-]{0,64}$'}}}"},
    {"Grants",
     "{'type':'array','maxItems':256,'items':{'type':'object','additionalProperties':false,"
     "'required':['topic','permissions'],'properties':{'topic':#Text,'permissions':{"
     "'type':'array','minItems':1,'items':{'enum':['pub','sub']}},'until':#TimeOrNull}}}"},
    {"Profile",
     "{'type':'object','properties':{'device':#Name,'state':{'enum':['off','learning','reporting',"
     "'enforcing']},'since':#TimeOrNull,'until':#TimeOrNull,'learning':{'type':'boolean'},"
     "'policy':#Count,'problem':{'type':['string','null']},'source':{'enum':['learned','mud',null]}"
     ","
     "'rules_made':#TimeOrNull,'rules':{'type':'array','items':#Rule},'notes':#Texts,"
     "'names':{'type':'array','items':{'type':'object','properties':{'name':#Text,'address':#Text,"
     "'until':#Time}}},'limits':#Limit,'suggested':#Limit,'learned':#Learned}}"},
    {"Rule",
     "{'type':'object','properties':{'direction':#Direction,'protocol':#Count,"
     "'family':{'enum':['ipv4','ipv6','both']},'device_ports':#Range,'peer_ports':#Range,"
     "'no_open':{'type':'boolean'},'peers':{'type':'array','items':{'type':'object',"
     "'minProperties':1,'maxProperties':1,'properties':{'class':{'enum':['any','local','gateway']},"
     "'address':#Text,'name':#Text}}}}}"},
    {"Direction", "{'enum':['from-device','to-device']}"},
    {"Range", "{'type':'array','minItems':2,'maxItems':2,'items':#Count}"},
    {"Learned",
     "{'type':'object','properties':{'at':#TimeOrNull,'missed':#Count,'peak_packets_per_s':#Count,"
     "'peak_bytes_per_s':#Count,'conversations':{'type':'array','items':{'type':'object',"
     "'properties':{'direction':#Direction,'protocol':#Count,'peer':#Text,"
     "'name':{'type':['string','null']},'port':#Count,'packets':#Count,'bytes':#Count,"
     "'first':#TimeOrNull,'last':#TimeOrNull}}}}}"},
    {"LearnFor", "{'type':'object','additionalProperties':false,'properties':{"
                 "'seconds':{'type':'integer','minimum':0,'maximum':31622400}}}"},
    {"Limit", "{'type':'object','additionalProperties':false,'properties':{"
              "'packets_per_s':#Count,'bytes_per_s':#Count}}"},
    {"Mud", "{'type':'object','description':'A MUD file, RFC 8520 §7, of at most 256 KiB.',"
            "'required':['ietf-mud:mud','ietf-access-control-list:acls']}"},
    {"Seconds", "{'type':'object','additionalProperties':false,'properties':{"
                "'seconds':{'type':'integer','minimum':0,'maximum':86400}}}"},
    {"Window", "{'type':'object','properties':{'open':{'type':'boolean'},'expires':#TimeOrNull,"
               "'port':#Count,'ca_sha256':#Text}}"},
    {"Pairing", "{'type':'object','properties':{'code':#Text,'expires':#Time,'port':#Count,"
                "'ca_sha256':#Text}}"},
    {"Event",
     "{'type':'object','required':['id','type','at'],'properties':{'id':#Count,"
     "'type':{'enum':['presence','alert']},'at':#Time,'device':#Text,"
     "'action':{'enum':['join','leave','timeout','state-change','interval']},'cause':#Text,"
     "'status':#Text,'occupancy':#Count,'severity':{'enum':['info','warning','critical']},"
     "'kind':#Text,'text':#Text}}"},
    {"Events", "{'type':'array','items':#Event}"},
    {"Session", "{'type':'object','properties':{'user':#Text,'role':#Role}}"},
    {"Login", "{'type':'object','additionalProperties':false,'required':['user','password'],"
              "'properties':{'user':#Text,'password':#Text}}"},
    {"Setup", "{'type':'object','additionalProperties':false,'required':['code','password'],"
              "'properties':{'code':#Text,'user':#Name,'password':{'type':'string',"
              "'minLength':8}}}"},
    {"SetupCode", "{'type':'object','properties':{'code':#Text}}"},
    {"Password", "{'type':'object','additionalProperties':false,'required':['password'],"
                 "'properties':{'password':{'type':'string','minLength':8},'role':#Role}}"},
    {"NewKey", "{'type':'object','additionalProperties':false,'required':['name'],'properties':{"
               "'name':#Name,'role':#Role}}"},
    {"Key", "{'type':'object','properties':{'name':#Name,'role':#Role,'key':#Text}}"},
    {"Keys", "{'type':'array','items':{'type':'object','properties':{'name':#Name,'role':#Role}}}"},
};

/* ---- schemas ---- */

/* #Name becomes a reference, ' becomes ". */
static json_t *schema_json(const char *text)
{
    GW_CLEANUP(gw_free_ptr) char *out = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&out, &len);

    if (!f)
        return NULL;
    while (*text) {
        if (*text == '#') {
            size_t n = 1 + strspn(text + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

            (void)fprintf(f, "{\"$ref\":\"#/components/schemas/%.*s\"}", (int)n - 1, text + 1);
            text += n;
        } else {
            (void)fputc(*text == '\'' ? '"' : *text, f);
            text++;
        }
    }
    return fclose(f) == 0 ? json_loadb(out, len, 0, NULL) : NULL;
}

static json_t *components_json(void)
{
    json_t *all = json_object();

    for (size_t i = 0; i < GW_COUNT(schemas); i++)
        json_object_set_new(all, schemas[i].name, schema_json(schemas[i].schema));
    return json_pack("{s:o, s:{s:{s:s, s:s, s:s}, s:{s:s, s:s}}}", "schemas", all,
                     "securitySchemes", "session", "type", "apiKey", "in", "cookie", "name", COOKIE,
                     "key", "type", "http", "scheme", "bearer");
}

/* ---- paths ---- */

/* What stands for {} or * behind this segment. */
static const char *parameter_after(const char *segment)
{
    static const char *const names[][2] = {
        {"devices/", "id"}, {"quarantine/", "address"}, {"users/", "user"}, {"keys/", "name"}};

    for (size_t i = 0; i < GW_COUNT(names); i++)
        if (strncmp(segment, names[i][0], strlen(names[i][0])) == 0)
            return names[i][1];
    return "rest";
}

/* "/api/v1/devices/{}" → "/api/v1/devices/{id}"; the name, or NULL when there is none. */
static const char *path_of(const char *pattern, char *out, size_t room)
{
    size_t len = strcspn(pattern, "{*"), start = len;
    const char *name;

    if (!pattern[len]) {
        (void)snprintf(out, room, "%s", pattern);
        return NULL;
    }
    for (start = len - 1; start > 0 && pattern[start - 1] != '/';)
        start--;
    name = parameter_after(pattern + start);
    (void)snprintf(out, room, "%.*s{%s}%s", (int)len, pattern, name,
                   pattern + len + (pattern[len] == '{' ? 2 : 1));
    return name;
}

static void add_parameter(json_t *list, const char *name, size_t len, const char *in, bool required)
{
    json_t *p = json_object();

    json_object_set_new(p, "name", json_stringn(name, len));
    json_object_set_new(p, "in", json_string(in));
    json_object_set_new(p, "required", json_boolean(required));
    json_object_set_new(p, "schema", schema_json("#Text"));
    json_array_append_new(list, p);
}

static json_t *parameters_json(const struct call *c, const char *in_path)
{
    json_t *list = json_array();

    if (in_path)
        add_parameter(list, in_path, strlen(in_path), "path", true);
    for (const char *q = c->query; q && *q;) {
        size_t len = strcspn(q, ",");

        add_parameter(list, q, len, "query", false);
        q += len + (q[len] == ',');
    }
    return list;
}

static json_t *content_json(const char *schema)
{
    const char *type = strcmp(schema, "Text") == 0      ? "text/plain"
                       : strcmp(schema, "Stream") == 0  ? "text/event-stream"
                       : strcmp(schema, "Mud") == 0     ? "application/mud+json"
                       : strcmp(schema, "Problem") == 0 ? "application/problem+json"
                                                        : "application/json";
    char ref[64];

    (void)snprintf(ref, sizeof(ref), "#%s", schema);
    return json_pack("{s:{s:o}}", type, "schema", schema_json(ref));
}

static json_t *responses_json(const struct call *c)
{
    json_t *good = json_pack("{s:s}", "description", c->summary);
    json_t *bad = json_pack("{s:s, s:o}", "description", "Refused or failed: what and why",
                            "content", content_json("Problem"));
    char status[8];

    (void)snprintf(status, sizeof(status), "%d", c->status);
    if (c->answer)
        json_object_set_new(good, "content", content_json(c->answer));
    return json_pack("{s:o, s:o}", status, good, "default", bad);
}

static json_t *operation_json(const struct call *c, const char *in_path)
{
    json_t *op = json_pack("{s:s, s:o, s:o}", "summary", c->summary, "parameters",
                           parameters_json(c, in_path), "responses", responses_json(c));

    if (c->body)
        json_object_set_new(
            op, "requestBody",
            json_pack("{s:b, s:o}", "required", 1, "content", content_json(c->body)));
    json_object_set_new(op, "x-role",
                        (c->who & MAY_ROLES) ? json_string(role_text(c->who & MAY_ROLES))
                                             : json_null());
    if ((c->who & MAY_ROLES) == MAY_ANYBODY)
        json_object_set_new(op, "security", json_array());
    return op;
}

static const char *method_text(unsigned method)
{
    return method == GW_GET    ? "get"
           : method == GW_POST ? "post"
           : method == GW_PUT  ? "put"
                               : "delete";
}

static json_t *paths_json(void)
{
    json_t *paths = json_object();

    for (size_t i = 0; i < GW_COUNT(calls); i++) {
        char path[128];
        const char *parameter = path_of(calls[i].path, path, sizeof(path));
        json_t *item = json_object_get(paths, path);

        if (!calls[i].summary)
            continue;
        if (!item) {
            item = json_object();
            json_object_set_new(paths, path, item);
        }
        json_object_set_new(item, method_text(calls[i].method),
                            operation_json(&calls[i], parameter));
    }
    return paths;
}

void on_openapi(void *owner, struct gw_http_request *req)
{
    (void)owner;
    gw_http_reply_json(
        req, 200,
        json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:[]}, {s:[]}], s:o, s:o}", "openapi", "3.1.0",
                  "info", "title", "Cordon", "version", CORDON_VERSION, "description",
                  "The admin API of one gateway, over HTTPS and over its Unix socket.", "security",
                  "session", "key", "paths", paths_json(), "components", components_json()));
}
