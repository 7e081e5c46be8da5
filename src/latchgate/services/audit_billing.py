"""What the audit holds true of billing; ``audit.py`` runs these queries with its own.

* a redeemed code has exactly one posting, of its batch's amount, to the account that redeemed it,
  and no posting says that a code was redeemed where none was;
* a batch has as many codes as it says;
* a statement opens with what the one before it closed with, and begins where that one ended; its
  postings add up to the difference, and its lines of usage to its usage postings;
* a posting of a closed month is on a statement, and on one of its own account;
* a paid payment has exactly one posting of its amount, and what went back of it or came again has
  one each; no such posting is without its payment;
* an account's line of a price's correction has a posting of its amount, which is what its calls'
  charges changed by; no call has come to cost less than nothing.
"""

from __future__ import annotations

from latchgate.services.monthly_statements import LATE_US

#: Each query gives the rows that disagree; its sentence is filled from their columns.
BILLING_DISAGREEMENTS: tuple[tuple[str, str], ...] = (
    (
        "code {number} of batch {batch_id}: it gave {given}, its posting {posting_id} {posted}",
        """SELECT c.number, c.batch_id, b.amount_nanos AS given, c.posting_id,
                  coalesce(p.amount_nanos, 0) AS posted
           FROM redemption_codes c JOIN code_batches b ON b.id = c.batch_id
           LEFT JOIN postings p ON p.id = c.posting_id AND p.account_id = c.account_id
             AND p.kind = 'redemption'
           WHERE c.redeemed_us IS NOT NULL
             AND (p.id IS NULL OR p.amount_nanos <> b.amount_nanos)""",
    ),
    (
        "posting {id} is of a redeemed code, and {count} codes have it",
        """SELECT p.id, count(c.number) AS count FROM postings p
           LEFT JOIN redemption_codes c ON c.posting_id = p.id
           WHERE p.kind = 'redemption' GROUP BY p.id HAVING count(c.number) <> 1""",
    ),
    (
        "code {number} of batch {batch_id} is half redeemed",
        """SELECT number, batch_id FROM redemption_codes
           WHERE (redeemed_us IS NULL) <> (posting_id IS NULL)
              OR (account_id IS NULL) <> (posting_id IS NULL)""",
    ),
    (
        "batch {id} has {count} codes, and should have {codes}",
        """SELECT b.id, b.codes, count(c.number) AS count FROM code_batches b
           LEFT JOIN redemption_codes c ON c.batch_id = b.id
           GROUP BY b.id, b.codes HAVING count(c.number) <> b.codes""",
    ),
    (
        "statement {id}: {opening_nanos} and {total} make {closing_nanos}",
        """SELECT s.id, s.opening_nanos, s.closing_nanos, coalesce(sum(p.amount_nanos), 0) AS total
           FROM monthly_statements s LEFT JOIN statement_postings l ON l.statement_id = s.id
           LEFT JOIN postings p ON p.id = l.posting_id AND p.account_id = s.account_id
           GROUP BY s.id, s.opening_nanos, s.closing_nanos
           HAVING s.closing_nanos - s.opening_nanos <> coalesce(sum(p.amount_nanos), 0)""",
    ),
    (
        "statement {id}: it does not go on from number {before} of its account",
        """SELECT s.id, s.number - 1 AS before FROM monthly_statements s
           LEFT JOIN monthly_statements b
             ON b.account_id = s.account_id AND b.number = s.number - 1
           WHERE (s.number = 1 AND s.opening_nanos <> 0)
              OR (s.number <> 1 AND (b.id IS NULL OR b.closing_nanos <> s.opening_nanos
                                     OR b.ends_us <> s.starts_us))""",
    ),
    (
        "statement {id}: its lines of usage sum to {lines}, its usage postings to {posted}",
        """SELECT id, sum(lines) AS lines, sum(posted) AS posted FROM (
             SELECT statement_id AS id, charge_nanos AS lines, 0 AS posted FROM statement_usage
             UNION ALL
             SELECT l.statement_id, 0, -p.amount_nanos FROM statement_postings l
             JOIN postings p ON p.id = l.posting_id WHERE p.kind = 'usage') both_kinds
           GROUP BY id HAVING sum(lines) <> sum(posted)""",
    ),
    (
        "statement {id}: it counts {lines} calls, its postings have {posted}",
        """SELECT id, sum(lines) AS lines, sum(posted) AS posted FROM (
             SELECT statement_id AS id, calls AS lines, 0 AS posted FROM statement_usage
             UNION ALL
             SELECT l.statement_id, 0, 1 FROM statement_postings l
             JOIN usage_events u ON u.posting_id = l.posting_id) both_kinds
           GROUP BY id HAVING sum(lines) <> sum(posted)""",
    ),
    (
        "statement {id}: posting {posting_id} is another account's",
        """SELECT s.id, p.id AS posting_id FROM statement_postings l
           JOIN monthly_statements s ON s.id = l.statement_id
           JOIN postings p ON p.id = l.posting_id
           WHERE p.account_id IS NULL OR p.account_id <> s.account_id""",
    ),
    (
        "posting {id}: its month is closed, and it is on no statement",
        f"""SELECT p.id FROM postings p
            JOIN (SELECT account_id, max(ends_us) AS ends_us FROM monthly_statements
                  GROUP BY account_id) s ON s.account_id = p.account_id
            LEFT JOIN statement_postings l ON l.posting_id = p.id
            WHERE l.posting_id IS NULL AND p.created_us < s.ends_us - {LATE_US}""",  # noqa: S608 - a number of ours
    ),
    (
        "payment {id}: it is of {amount_nanos}, its posting {posting_id} of {posted}",
        """SELECT y.id, y.amount_nanos, y.posting_id, coalesce(p.amount_nanos, 0) AS posted
           FROM payments y LEFT JOIN postings p ON p.id = y.posting_id AND p.kind = 'payment'
             AND p.account_id = y.account_id
           WHERE (y.state = 'paid' OR y.posting_id IS NOT NULL)
             AND (p.id IS NULL OR y.state <> 'paid' OR p.amount_nanos <> y.amount_nanos)""",
    ),
    (
        "reversal {id}: it is of {amount_nanos}, its postings are of {taken} and {returned}",
        """SELECT r.id, r.amount_nanos, coalesce(t.amount_nanos, 0) AS taken,
                  coalesce(b.amount_nanos, 0) AS returned
           FROM payment_reversals r LEFT JOIN payments y ON y.payment_intent = r.payment_intent
           LEFT JOIN postings t ON t.id = r.taken_posting_id AND t.kind = r.kind
             AND t.account_id = y.account_id
           LEFT JOIN postings b ON b.id = r.returned_posting_id AND b.kind = r.kind
             AND b.account_id = y.account_id
           WHERE (r.taken_posting_id IS NOT NULL
                  AND (t.id IS NULL OR t.amount_nanos <> -r.amount_nanos))
              OR (r.returned_posting_id IS NOT NULL
                  AND (b.id IS NULL OR b.amount_nanos <> r.amount_nanos))
              OR (r.taken_posting_id IS NOT NULL AND r.returned_posting_id IS NULL
                  AND r.is_returned = 1)
              OR (r.taken_posting_id IS NULL AND r.is_returned = 0
                  AND y.amount_nanos >= r.amount_nanos)""",
    ),
    (
        "posting {id} is of a {kind}, and {count} payments have it",
        """SELECT id, kind, count(found) AS count FROM (
             SELECT p.id, p.kind, y.id AS found FROM postings p
             LEFT JOIN payments y ON y.posting_id = p.id WHERE p.kind = 'payment'
             UNION ALL
             SELECT p.id, p.kind, r.id FROM postings p LEFT JOIN payment_reversals r
               ON r.taken_posting_id = p.id OR r.returned_posting_id = p.id
             WHERE p.kind IN ('payment_refund', 'dispute')) every_one
           GROUP BY id, kind HAVING count(found) <> 1""",
    ),
    (
        "correction {correction_id} of {account_id}: its posting is of {posted}, not of {amount}",
        """SELECT l.correction_id, l.account_id, l.charged_nanos - l.right_nanos AS amount,
                  coalesce(p.amount_nanos, 0) AS posted
           FROM price_correction_lines l LEFT JOIN postings p ON p.id = l.posting_id
             AND p.kind = 'correction' AND p.account_id = l.account_id
           WHERE p.id IS NULL OR p.amount_nanos <> l.charged_nanos - l.right_nanos""",
    ),
    (
        "correction {correction_id} of {account_id}: by {lines}, its calls changed by {calls}",
        """SELECT correction_id, account_id, sum(lines) AS lines, sum(calls) AS calls FROM (
             SELECT correction_id, account_id, right_nanos - charged_nanos AS lines, 0 AS calls
             FROM price_correction_lines
             UNION ALL
             SELECT c.correction_id, u.account_id, 0, c.difference_nanos FROM corrected_calls c
             JOIN usage_events u ON u.request_id = c.request_id) both_kinds
           GROUP BY correction_id, account_id HAVING sum(lines) <> sum(calls)""",
    ),
    (
        "call {request_id}: corrections made {total} of its charge",
        """SELECT u.request_id, u.charge_nanos + sum(c.difference_nanos) AS total
           FROM corrected_calls c JOIN usage_events u ON u.request_id = c.request_id
           GROUP BY u.request_id, u.charge_nanos
           HAVING u.charge_nanos + sum(c.difference_nanos) < 0""",
    ),
)
