/* AlertPolicy, AlertCondition and AlertNotificationTarget: rules of the document's own in place of the workbook's. */
#include "query/slo_document.h"
#include "base/check.h"

/* An entry of a list: a name, {xRef: name}, or the document inlined. *out_doc is where mistakes are reported. */
static const struct yaml_node *resolve_entry(struct slo_documents *d,
                                             const struct slo_document *doc,
                                             const struct yaml_node *n, enum slo_kind kind,
                                             const char *ref_key, const char *where,
                                             struct bytes *out_name,
                                             const struct slo_document **out_doc)
{
    struct bytes ref = n->type == YAML_SCALAR ? n->text : yaml_get_str(n, ref_key);
    *out_doc = doc;
    if (ref.size == 0 && n->type == YAML_MAP && yaml_get(n, "spec")) {
        *out_name = yaml_get_str(yaml_get(n, "metadata"), "name");
        return yaml_get(n, "spec");
    }
    const struct slo_document *found = slo_document_find(d, kind, ref);
    if (!found) {
        slo_document_error(d, doc->file, n, where, "nothing is named \"" BYTES_FMT "\"",
                           BYTES_ARG(ref));
        return NULL;
    }
    *out_name = found->name;
    *out_doc = found;
    return found->spec;
}

static void read_condition(struct slo_documents *d, const struct slo_document *doc,
                           const struct yaml_node *spec, struct bytes name, struct query_slo *s)
{
    static const char *const keys[] = {"description", "severity", "condition", NULL};
    static const char *const condition_keys[] = {"kind",           "op",         "threshold",
                                                 "lookbackWindow", "alertAfter", NULL};
    slo_document_keys(d, doc->file, spec, "AlertCondition", keys);
    const struct yaml_node *c = yaml_get(spec, "condition");
    slo_document_keys(d, doc->file, c, "condition", condition_keys);
    struct query_slo_rule r = {.severity = QUERY_SLO_PAGE};
    struct bytes severity = yaml_get_str(spec, "severity"), op = yaml_get_str(c, "op"),
                 after = yaml_get_str(c, "alertAfter");
    if (bytes_equal_str(severity, "ticket") || bytes_equal_str(severity, "warning"))
        r.severity = QUERY_SLO_TICKET;
    else if (severity.size && !bytes_equal_str(severity, "page") &&
             !bytes_equal_str(severity, "critical"))
        slo_document_error(d, doc->file, spec, "severity", "must be page or ticket");
    if (!bytes_equal_str(yaml_get_str(c, "kind"), "burnrate"))
        slo_document_error(d, doc->file, c ? c : spec, "condition.kind", "must be burnrate");
    if (op.size && !bytes_equal_str(op, "gt") && !bytes_equal_str(op, "gte"))
        slo_document_error(d, doc->file, c, "condition.op", "must be gt or gte");
    if (!bytes_to_f64(yaml_get_str(c, "threshold"), &r.factor) || !(r.factor > 1) || r.factor > 1e6)
        slo_document_error(d, doc->file, c ? c : spec, "condition.threshold",
                           "\"" BYTES_FMT "\" is not a burn rate; valid is a factor above 1",
                           BYTES_ARG(yaml_get_str(c, "threshold")));
    if (!slo_document_minutes(yaml_get_str(c, "lookbackWindow"), &r.long_minutes) ||
        r.long_minutes < 12 || r.long_minutes > s->period_minutes)
        slo_document_error(d, doc->file, c ? c : spec, "condition.lookbackWindow",
                           "\"" BYTES_FMT "\" is not a window; valid are 12m up to the period",
                           BYTES_ARG(yaml_get_str(c, "lookbackWindow")));
    if (after.size && !bytes_equal_str(after, "0") && !bytes_equal_str(after, "0m") &&
        (!slo_document_minutes(after, &r.after_minutes) || r.after_minutes > 1440))
        slo_document_error(d, doc->file, c, "condition.alertAfter", "must be 0m to 1d");
    r.short_minutes = r.long_minutes / 12;
    if (r.factor > 1 && !query_slo_is_reachable(r.factor, s->target))
        slo_document_error(d, doc->file, c, "condition.threshold",
                           "a burn rate of %.6g can never be reached: at a target of %.6g %% even "
                           "100 %% bad events burn %.6g times; valid is a factor below that",
                           r.factor, s->target * 100, 1 / (1 - s->target));
    struct bytes kept = arena_printf(d->set->arena, BYTES_FMT,
                                     BYTES_ARG(name.size ? name : BYTES_LIT("condition")));
    if (!kept.data) {
        d->out_of_memory = true;
        return;
    }
    r.name = (const char *)kept.data;
    if (s->rule_count == QUERY_SLO_RULES_MAX)
        slo_document_error(d, doc->file, spec, "alertPolicies", "more than %u conditions",
                           QUERY_SLO_RULES_MAX);
    else
        s->rules[s->rule_count++] = r;
}

static void add_target(struct slo_documents *d, const struct slo_document *doc,
                       const struct yaml_node *spec, struct bytes name, struct query_slo *s)
{
    static const char *const keys[] = {"description", "target", NULL};
    slo_document_keys(d, doc->file, spec, "AlertNotificationTarget", keys);
    struct bytes target = yaml_get_str(spec, "target");
    struct bytes *list = arena_grow(d->set->arena, (void *)(uintptr_t)s->targets, sizeof(*list),
                                    s->target_count, s->target_count + 1u);
    if (!list) {
        d->out_of_memory = true;
        return;
    }
    list[s->target_count++] = target.size ? target : name;
    s->targets = list;
}

static void read_policy(struct slo_documents *d, const struct slo_document *doc,
                        const struct yaml_node *spec, struct query_slo *s)
{
    static const char *const keys[] = {"description",
                                       "alertWhenNoData",
                                       "alertWhenResolved",
                                       "alertWhenBreaching",
                                       "conditions",
                                       "notificationTargets",
                                       NULL};
    slo_document_keys(d, doc->file, spec, "AlertPolicy", keys);
    if (bytes_equal_str(yaml_get_str(spec, "alertWhenNoData"), "true"))
        s->no_data = QUERY_SLO_NO_DATA_ALERT;
    const struct yaml_node *list = yaml_get(spec, "conditions");
    const struct slo_document *at;
    struct bytes name = BYTES_NONE;
    for (const struct yaml_node *n = list && list->type == YAML_LIST ? list->child : NULL; n;
         n = n->next) {
        const struct yaml_node *c = resolve_entry(d, doc, n, SLO_KIND_ALERT_CONDITION,
                                                  "conditionRef", "conditions", &name, &at);
        if (c)
            read_condition(d, at, c, name, s);
    }
    list = yaml_get(spec, "notificationTargets");
    for (const struct yaml_node *n = list && list->type == YAML_LIST ? list->child : NULL; n;
         n = n->next) {
        const struct yaml_node *t = resolve_entry(d, doc, n, SLO_KIND_ALERT_TARGET, "targetRef",
                                                  "notificationTargets", &name, &at);
        if (t)
            add_target(d, at, t, name, s);
    }
}

void slo_policy_read(struct slo_documents *d, const struct slo_document *doc, struct query_slo *s)
{
    const struct yaml_node *list = yaml_get(doc->spec, "alertPolicies");
    if (!list)
        return;
    if (list->type != YAML_LIST) {
        slo_document_error(d, doc->file, list, "spec.alertPolicies", "must be a list");
        return;
    }
    uint32_t workbook = s->rule_count;
    struct query_slo_rule rules[QUERY_SLO_RULES_MAX];
    memcpy(rules, s->rules, sizeof(rules));
    s->rule_count = 0;
    for (const struct yaml_node *n = list->child; n; n = n->next) {
        const struct slo_document *at;
        struct bytes name = BYTES_NONE;
        const struct yaml_node *p = resolve_entry(
            d, doc, n, SLO_KIND_ALERT_POLICY, "alertPolicyRef", "spec.alertPolicies", &name, &at);
        if (p)
            read_policy(d, at, p, s);
    }
    if (s->rule_count == 0) { /* policies that only say where to send keep the workbook's rules */
        memcpy(s->rules, rules, sizeof(rules));
        s->rule_count = workbook;
    }
}
