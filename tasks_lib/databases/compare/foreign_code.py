"""
Find code of other roles that a query of ours would run.

Every query of a table is planned with the table's index expressions and predicates and its extended statistics. The
planner evaluates each call with constant arguments that claims to be IMMUTABLE (eval_const_expressions, relcache.c and
plancat.c), as the role that queries. COPY of a table is not planned.
"""

from __future__ import annotations

from typing import LiteralString

IS_FOREIGN: LiteralString = (
    "NOT pg_has_role({owner}, current_user, 'MEMBER') "
    "AND NOT (current_setting('is_superuser') = 'off' AND pg_has_role(current_user, {owner}, 'MEMBER'))"
)
"""
Whether the role with the oid *owner* is not trusted.

A role that may act as ours anyway is trusted, and so is one of which our ordinary role is a member.
"""

PLANNED_CODE: LiteralString = (
    "(SELECT min(format('planning a query of `%s.%s` would run function `%s` of role `%s` as ours', "  # noqa: S608 - ours
    "n.nspname, c.relname, p.proname, pg_get_userbyid(p.proowner))) FROM pg_depend d "
    "JOIN pg_proc p ON p.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid "
    "ELSE (SELECT o.oprcode::oid FROM pg_operator o WHERE o.oid = d.refobjid) END "
    "WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND (d.classid, d.objid) IN ("
    "SELECT 'pg_class'::regclass::oid, i.indexrelid FROM pg_index i "
    "WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) UNION ALL "
    "SELECT 'pg_statistic_ext'::regclass::oid, s.oid FROM pg_statistic_ext s WHERE s.stxrelid = c.oid) "
    "AND " + IS_FOREIGN.replace("{owner}", "p.proowner") + ")"
)
"""
SQL: the function of another role that a query of the table `c` in the schema `n` would run, as a sentence, or NULL.

An owner who makes such an index between this question and the query is not found out.
"""

REFUSE_VIEWS: LiteralString = (
    "SELECT set_config('restrict_nonsystem_relation_kind', 'view, foreign-table', true) "
    "WHERE current_setting('restrict_nonsystem_relation_kind', true) IS NOT NULL"
)
"""
SQL: refuse to read users' views until the end of the transaction.

An owner can replace a table by a view between two queries of ours, and the view's functions would run as our role
(CVE-2024-7348). Minor releases of August 2024 and later know the setting.
"""
