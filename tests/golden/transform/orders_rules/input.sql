SELECT * FROM (VALUES
  (1, 'ann', '10.00', NULL, 'new', 'ann@x', DATE '2026-01-01', DATE '2026-01-02', TIMESTAMPTZ '2026-01-02 10:00:00+00'),
  (2, 'bob', '99.99', '9.99', 'paid', 'bob@x', DATE '2026-01-01', NULL, TIMESTAMPTZ '2026-01-02 11:00:00+00'),
  (3, 'cat', 'NaN', NULL, 'new', 'cat@x', DATE '2026-01-01', NULL, TIMESTAMPTZ '2026-01-02 12:00:00+00'),
  (4, 'dan', '5.00', NULL, 'lost', 'dan', DATE '2026-01-03', DATE '2026-01-02', TIMESTAMPTZ '2026-01-02 13:00:00+00'),
  (5, 'eve', '5.00', NULL, 'draft', 'eve@x', NULL, NULL, TIMESTAMPTZ '2026-01-02 14:00:00+00'),
  (NULL, 'fay', '5.00', NULL, 'new', 'fay@x', NULL, NULL, TIMESTAMPTZ '2026-01-02 15:00:00+00'),
  (7, 'gil', '5.00', NULL, 'new', 'ann@x', NULL, NULL, TIMESTAMPTZ '2026-01-02 16:00:00+00'),
  (8, 'hal', '5.00', NULL, 'returned!', 'hal@x', NULL, NULL, TIMESTAMPTZ '2026-01-02 17:00:00+00')
) AS t (id, cust, amount, discount, status, email, ordered_on, shipped_on, updated_at)
