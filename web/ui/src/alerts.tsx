// What fires, and what people do about it: acknowledge it, silence it, end a silence.
import { useEffect, useState } from 'preact/hooks';
import { alertmanager, postJson, type Alert, type Cover, type Silence } from './api';
import * as f from './format';
import { State, Table, When, type Column } from './parts';
import { href } from './url';

const remembered = 'telltale-name';
const spans: [string, number][] = [['30 min', 0.5], ['2 h', 2], ['8 h', 8], ['1 d', 24]];

// One of the two at a time: a name is needed for both, a reason for a silence.
function Act({ a, done }: { a: Alert; done: () => void }) {
  const [form, open] = useState<'' | 'acknowledge' | 'silence'>('');
  const [name, setName] = useState(localStorage.getItem(remembered) ?? '');
  const [comment, setComment] = useState('');
  const [hours, setHours] = useState(2);
  const [said, say] = useState('');
  const send = async (e: Event) => {
    e.preventDefault();
    localStorage.setItem(remembered, name);
    try {
      if (form === 'acknowledge') await postJson(`alerts/${a.fingerprint}/acknowledge`, { by: name });
      else
        await alertmanager('POST', 'silences', {
          matchers: Object.entries(a.labels).filter(([k]) => k !== 'severity').map(([k, value]) => ({ name: k, value, isRegex: false, isEqual: true })),
          startsAt: new Date().toISOString(), endsAt: new Date(Date.now() + hours * 3600000).toISOString(), createdBy: name, comment,
        });
      open('');
      say('');
      done();
    } catch (x) {
      say((x as Error).message);
    }
  };
  if (!form)
    return (
      <p class="acts">
        {!a.acknowledged && a.state === 'firing' && <button type="button" onClick={() => open('acknowledge')}>acknowledge</button>}
        {!a.silenced_by?.length && <button type="button" onClick={() => open('silence')}>silence</button>}
      </p>
    );
  return (
    <form class="acts" onSubmit={send} aria-label={`${form} ${a.slo}`}>
      <label>your name <input required value={name} maxLength={100} autoComplete="name" onInput={(e) => setName(e.currentTarget.value)} /></label>
      {form === 'silence' && <label>why <input required value={comment} maxLength={300} onInput={(e) => setComment(e.currentTarget.value)} /></label>}
      {form === 'silence' && <label>for <select value={hours} onChange={(e) => setHours(Number(e.currentTarget.value))}>{spans.map(([text, h]) => <option value={h}>{text}</option>)}</select></label>}
      <button type="submit">{form}</button> <button type="button" onClick={() => open('')}>cancel</button>
      {said && <span role="alert" class="bad">{said}</span>}
    </form>
  );
}

const cover = (what: string, list: Cover[] | undefined) =>
  list?.length ? <p class="small">◇ {what} until {f.stamp(list[0].ends_ms).slice(0, 16)} by {list[0].author}: {list[0].comment}</p> : null;

export function Alerts({ alerts, now, done }: { alerts: Alert[]; now: number; done: () => void }) {
  const active = alerts.filter((a) => a.state !== 'resolved');
  if (!active.length) return null;
  return (
    <section class="alerts" aria-label="firing alerts">
      <h2>Alerts</h2>
      {active.map((a) => (
        <article class={`alert ${a.state === 'firing' ? (a.severity === 'page' ? 'bad' : 'warn') : 'unknown'}`} key={a.fingerprint}>
          <p><State of={a.state} word={a.state === 'firing' ? a.severity : 'pending'} /> <a href={href('/oncall', { slo: a.slo })}><b>{a.slo}</b></a> <span class="quiet">{a.rule.replaceAll('-', ' ')}, since <When ms={a.active_since_ms} now={now} /></span></p>
          <p>{a.summary}</p>
          {a.sentence && <p>{a.sentence}</p>}
          {a.changed && <p class="small">Changed before: {a.changed}</p>}
          {a.acknowledged && <p class="small">✓ {a.acknowledged.by} works on it, since <When ms={a.acknowledged.at_ms} now={now} /></p>}
          {cover('silenced', a.silenced_by)}
          {cover('in a maintenance window', a.muted_by)}
          {a.traces.length ? <p class="small">examples: {a.traces.slice(0, 5).map((t, i) => <>{i ? ', ' : ''}<a href={`/trace/${t}`} class="mono">{t.slice(0, 8)}</a></>)}</p> : null}
          {a.annotations?.runbook && <p class="small"><a href={a.annotations.runbook.replace(/^.*(?=\/runbooks\/)/, '')}>what to do</a></p>}
          <Act a={a} done={done} />
        </article>
      ))}
    </section>
  );
}

const matcher = (m: Silence['matchers'][number]) => `${m.name}${m.isEqual ? (m.isRegex ? '=~' : '=') : m.isRegex ? '!~' : '!='}${m.value}`;

// Those that hold or will: looked up when the alerts change, since most pages have none.
export function Silences({ now, alerts }: { now: number; alerts: Alert[] }) {
  const [rows, show] = useState<Silence[]>([]);
  const [said, say] = useState('');
  const covered = alerts.map((a) => `${a.fingerprint}${a.silenced_by?.map((s) => s.id)}`).join();
  const look = () => alertmanager<Silence[]>('GET', 'silences').then((all) => show(all.filter((s) => s.status.state !== 'expired')), () => show([]));
  useEffect(() => void look(), [covered]);
  if (!rows.length) return null;
  const end = (s: Silence) => alertmanager('DELETE', `silence/${s.id}`).then(look, (e) => say(e.message));
  const columns: Column<Silence>[] = [
    { head: 'what', cell: (s) => <span class="mono">{s.matchers.map(matcher).join(' ')}</span> },
    { head: 'by', cell: (s) => s.createdBy, sort: (s) => s.createdBy },
    { head: 'why', cell: (s) => s.comment },
    { head: 'from', cell: (s) => <When ms={Date.parse(s.startsAt)} now={now} />, sort: (s) => s.startsAt },
    { head: 'until', cell: (s) => f.stamp(Date.parse(s.endsAt)).slice(0, 16), sort: (s) => s.endsAt },
    { head: '', cell: (s) => <button type="button" onClick={() => end(s)}>end now</button> },
  ];
  return <section data-section="silences"><h2>Silences</h2>{said && <p class="bad" role="alert">{said}</p>}<Table name="silences" rows={rows} columns={columns} id={(s) => s.id} /></section>;
}
