// What the labels mean, one line each, for `?`.
export const words: [string, string][] = [
  ['error budget', 'How many bad events the objective allows in its period; 100 % is untouched, below 0 % it is overspent.'],
  ['burn rate', 'How many times faster than allowed the budget is being spent: 1× empties it exactly at the end of the period.'],
  ['error ratio', 'Bad calls by all that count (good + bad). Calls that are the caller’s own fault are excluded, not good.'],
  ['TTFT', 'Time to first token: from the request until the user sees the first word.'],
  ['p95', '95 of 100 calls were at least this fast.'],
  ['n', 'How many events the number rests on.'],
  ['cost', 'Tokens times our price table, in US dollars; calls without a price are counted beside it.'],
  ['context', 'Input tokens, cache included, of the newest call of a session’s main line: how full the model’s window is.'],
  ['exact, weighted, …', 'Where a number comes from: every event, a sample with known weights, or an estimate.'],
];
export const keys: [string, string][] = [
  ['g o', 'on-call page'], ['g t', 'traces'], ['g s', 'sessions'], ['g c', 'costs'], ['/', 'search'], ['j  k', 'next, previous row'], ['Enter', 'open the row'],
  ['Esc', 'close, clear, back'], ['[  ]', 'earlier, later'], ['+  −', 'zoom in, out'], ['l', 'back to live'],
  ['y', 'copy a link to exactly this'], ['t', 'light or dark'], ['?', 'this list'],
];
