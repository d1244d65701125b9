// What calls cost, by any dimension of the ledger, and the budgets that watch it.
import type { BudgetRow, CostRow, Costs } from './api';
import { count, exact, percent, stamp, usd } from './format';
import { useAnswer, useNow } from './live';
import { State, Table, Trouble, type Column } from './parts';
import { change, href } from './url';

const dims = [['team', 'team'], ['user', 'user'], ['model', 'model'], ['service', 'service'], ['api_key', 'API key'],
  ['tenant', 'tenant'], ['prompt', 'prompt version'], ['endpoint', 'endpoint']] as const;
const spans = [[1, 'day'], [7, '7 days'], [30, '30 days'], [90, '90 days']] as const;
const dayMs = 86400000;

// Bars from zero, one a day; their numbers are in the title, and the sum stands beside it.
function Days({ days, first, most }: { days: number[]; first: number; most: number }) {
  const h = 24, w = Math.max(2, Math.min(8, Math.floor(160 / days.length)));
  const title = days.map((d, i) => `${new Date(first + i * dayMs).toISOString().slice(0, 10)} ${usd(d)}`).filter((_, i) => days[i]).join('\n');
  return (
    <svg class="days" width={w * days.length} height={h} role="img" aria-label={`cost by day, at most ${usd(Math.max(0, ...days))}`}>
      <title>{title}</title>
      {days.map((d, i) => d > 0 && <rect x={i * w} width={w - 1} y={h - Math.max(1, (d / most) * h)} height={Math.max(1, (d / most) * h)} fill="currentColor" />)}
    </svg>
  );
}

const nameOf = (r: CostRow) => (r.is === 'other' ? 'others, past the limit' : r.value || 'unattributed');

function columns(data: Costs): Column<CostRow>[] {
  const most = Math.max(1, ...data.rows.flatMap((r) => r.days_nanousd ?? []));
  return [
    { head: data.by.replace('_', ' '), cell: (r) => <span class={r.value ? '' : 'quiet'}>{nameOf(r)}</span>, sort: nameOf },
    { head: 'cost', number: true, cell: (r) => <span title={`${exact(r.cost_nanousd)} nano-USD`}>{usd(r.cost_nanousd)}</span>, sort: (r) => r.cost_nanousd },
    { head: 'share', number: true, cell: (r) => percent(data.total.cost_nanousd ? r.cost_nanousd / data.total.cost_nanousd : null, 2), sort: (r) => r.cost_nanousd },
    { head: 'by day', cell: (r) => r.days_nanousd && <Days days={r.days_nanousd} first={data.first_day_ms} most={most} />, hint: 'UTC days; all rows on one scale' },
    { head: 'calls', number: true, cell: (r) => <span title={exact(r.calls)}>{count(r.calls)}</span>, sort: (r) => r.calls },
    { head: 'input tokens', number: true, cell: (r) => <span title={exact(r.input_tokens)}>{count(r.input_tokens)}</span>, sort: (r) => r.input_tokens },
    { head: 'output tokens', number: true, cell: (r) => <span title={exact(r.output_tokens)}>{count(r.output_tokens)}</span>, sort: (r) => r.output_tokens },
    { head: 'unpriced', number: true, cell: (r) => (r.unpriced_calls ? count(r.unpriced_calls) : ''), sort: (r) => r.unpriced_calls, hint: 'calls without a price: their cost is not known, and in no sum' },
  ];
}

const amount = (r: BudgetRow, what: 'spent' | 'limit' | 'forecast'): string => {
  const v = r[`${what}_nanousd`] ?? r[`${what}_tokens`] ?? r[`${what}_calls`] ?? 0;
  return r.unit === 'usd' ? usd(v) : `${count(v)} ${r.unit}`;
};
const budgetState = (r: BudgetRow) => (r.spent_share >= 1 ? 'spent' : r.spent_share >= 0.8 ? 'pending' : 'ok');
const budgetColumns: Column<BudgetRow>[] = [
  { head: 'budget', cell: (r) => r.budget, sort: (r) => r.budget },
  { head: 'state', cell: (r) => <State of={budgetState(r)} word={r.spent_share >= 1 ? 'spent' : r.spent_share >= 0.8 ? 'nearly spent' : 'within budget'} /> },
  { head: 'fullest', cell: (r) => (r.key ? `${r.by.replace('_', ' ')} ${r.key}` : <span class="quiet">all together</span>) },
  { head: 'spent', number: true, cell: (r) => `${amount(r, 'spent')} of ${amount(r, 'limit')}`, sort: (r) => r.spent_share },
  { head: 'share', number: true, cell: (r) => percent(r.spent_share), sort: (r) => r.spent_share },
  { head: 'forecast', number: true, cell: (r) => (r.window_kind === 'calendar' ? amount(r, 'forecast') : ''), hint: 'at the pace of the window so far, at its end' },
  { head: 'window', cell: (r) => <span title={r.reset_ms ? `${r.window_kind === 'calendar' ? 'begins anew' : 'the first of it leaves'} ${stamp(r.reset_ms)}` : ''}>{r.window}{r.hard ? ', hard' : ''}</span> },
];

function Budgets({ live }: { live: boolean }) {
  const { data } = useAnswer<{ budgets: BudgetRow[] }>('budgets/spend', live);
  if (!data?.budgets.length) return <p class="quiet">No budgets. <code>telltale serve --budgets FILE</code> reads some; docs/budgets.md shows how they are written.</p>;
  return <Table name="budgets" rows={data.budgets} columns={budgetColumns} id={(r) => r.budget} />;
}

export function CostsPage({ params }: { params: URLSearchParams }) {
  const now = useNow(60000);
  const by = params.get('by') ?? 'team';
  const days = Number(params.get('days') ?? 30) || 30;
  const to = Number(params.get('to') ?? 0) || Math.ceil(now / 900000) * 900000;
  const { data, error, at, asking } = useAnswer<Costs>(href('costs', { by, from: to - days * dayMs, to, top: 50, days: 1 }), !params.get('to'));
  return (
    <main id="main" class={error && at ? 'stale' : ''}>
      <h1>Costs</h1>
      <form class="ask" onSubmit={(e) => e.preventDefault()}>
        <label>by<select value={by} onChange={(e) => change({ by: (e.target as HTMLSelectElement).value })}>{dims.map(([v, word]) => <option value={v}>{word}</option>)}</select></label>
        <label>over<select value={String(days)} onChange={(e) => change({ days: (e.target as HTMLSelectElement).value })}>{spans.map(([v, word]) => <option value={String(v)}>{word}</option>)}</select></label>
      </form>
      {error && <Trouble error={error} at={at} now={now} />}
      {data ? (
        <>
          <p>
            <b title={`${exact(data.total.cost_nanousd)} nano-USD`}>{usd(data.total.cost_nanousd)}</b> for {count(data.total.calls)} calls,{' '}
            {data.exact ? 'exact' : `a row may lack at most ${usd(data.error_nanousd)}`}
            {data.total.unpriced_calls > 0 && <>; {count(data.total.unpriced_calls)} calls have no price and are in no sum</>}
            {data.unattributed.cost_nanousd > 0 && <>; {usd(data.unattributed.cost_nanousd)} name no {by.replace('_', ' ')}</>}.
          </p>
          <Table name={`costs by ${by}`} rows={data.rows} columns={columns(data)} id={(r) => r.is ?? `v:${r.value}`} empty="Nothing was booked in this time." />
          {data.values > data.rows.length && <p class="quiet">{exact(data.values - data.rows.filter((r) => r.value).length)} more values: {usd(data.below_top.cost_nanousd)}.</p>}
        </>
      ) : asking && <p class="quiet">Asking…</p>}
      <h2>Budgets</h2>
      <Budgets live={!params.get('to')} />
    </main>
  );
}
