// The verdict of the proofs with Kafka can fail: each thing that must not be is seen where it was put.
import assert from "node:assert/strict";
import { test } from "node:test";
import { judge } from "./kafka_ledger.mjs";

const messages = 10, places = { partition: new Int16Array(messages).fill(1), offset: Int32Array.from({ length: messages }, (_, n) => n) };
const node = (...ns) => {
  const times = new Uint8Array(messages);
  for (const n of ns) times[n]++;
  return times;
};
const numbers = ({ missing, twice, onSeveral, outside }) => [missing, twice, onSeveral, outside];
const say = (nodes, ranges = []) => numbers(judge({ messages, places, nodes, ranges }));

test("messages that are each on one of two nodes are all there", () => {
  assert.deepEqual(say([node(0, 1, 2, 3), node(4, 5, 6, 7, 8, 9)]), [0, 0, 0, 0]);
});
test("a message that is on no node is missing", () => {
  assert.deepEqual(say([node(0, 1, 2, 3), node(4, 5, 6, 7, 9)]), [1, 0, 0, 0]);
});
test("a message that is twice on one node is seen, recorded or not", () => {
  const nodes = [node(0, 1, 2, 3, 3), node(4, 5, 6, 7, 8, 9)];
  assert.deepEqual(say(nodes), [0, 1, 0, 0]);
  assert.deepEqual(say(nodes, [{ partition: 1, from: 0, to: 10 }]), [0, 1, 0, 0]);
});
test("a message on two nodes must be inside a recorded range of its partition, whose end is known", () => {
  const nodes = [node(0, 1, 2, 3, 4, 5), node(4, 5, 6, 7, 8, 9)];
  assert.deepEqual(say(nodes), [0, 0, 2, 2]);
  assert.deepEqual(say(nodes, [{ partition: 1, from: 4, to: 6 }]), [0, 0, 2, 0]);
  assert.deepEqual(say(nodes, [{ partition: 1, from: 4, to: 5 }]), [0, 0, 2, 1]);
  assert.deepEqual(say(nodes, [{ partition: 1, from: 5, to: 6 }]), [0, 0, 2, 1]);
  assert.deepEqual(say(nodes, [{ partition: 2, from: 4, to: 6 }]), [0, 0, 2, 2]);
  assert.deepEqual(say(nodes, [{ partition: 1, from: 4, to: null }]), [0, 0, 2, 2]);
});
