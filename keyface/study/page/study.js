// A study's page. plan.json says what is shown in which orders, under names that tell nothing. Answers go to the
// server that sent the page; where there is none that takes them, they are kept here and downloaded at the end.
"use strict";

const QUESTIONS = ["realism", "identity"];
const SECONDS_A_TRIAL = 25;
const TRY_AGAIN_AFTER = 15000;
const $ = (id) => document.getElementById(id);
const quiet = matchMedia("(prefers-reduced-motion: reduce)");

let plan, state, current;

// What is kept: {rater, booklet, offline, practised, answers: {trial: answer}, unsent: [trial]}.
const store = {
  get name() { return `keyface-study/${plan.study}`; },
  read() {
    try { return JSON.parse(localStorage.getItem(this.name)); } catch { return null; }
  },
  write() {
    try { localStorage.setItem(this.name, JSON.stringify(state)); } catch { /* a browser that keeps nothing */ }
  },
};

const newRater = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function post(address, content) {
  const answer = await fetch(address, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content),
  });
  const told = (answer.headers.get("Content-Type") || "").includes("json") ? await answer.json() : null;
  if (answer.ok && told) return told;
  // A server for files alone knows no POST, or sends a page.
  if (!told) throw new Refused(answer.status >= 500 && answer.status !== 501 ? 500 : 404, "no server for answers");
  throw new Refused(answer.status, told.error || `the server says ${answer.status}`);
}

const line = (trial) => ({
  study: plan.study, rater: state.rater, booklet: state.booklet, trial: Number(trial), ...state.answers[trial],
});

function show(id) {
  for (const each of ["problem", "intro", "trial", "done"]) $(each).hidden = each !== id;
}

function fail(text, again) {
  $("problem-text").textContent = text;
  $("problem-again").onclick = again;
  show("problem");
  $("problem-again").focus();
}

async function open() {
  show(null);
  try {
    const answer = await fetch("plan.json", { cache: "no-cache" });
    if (!answer.ok) throw new Error(`the server says ${answer.status}`);
    plan = await answer.json();
  } catch (error) {
    return fail(`The study cannot be loaded (${error.message}). Check your connection.`, open);
  }
  document.title = $("title").textContent = plan.title;
  state = store.read() || { rater: newRater(), practised: 0, answers: {}, unsent: [] };
  await begin();
}

async function begin() {
  if (!state.offline) {
    try {
      const told = await post("api/begin", { study: plan.study, rater: state.rater });
      state.booklet = told.booklet;
      for (const { trial, ...answer } of told.answers) state.answers[trial] ??= answer;
      if (told.answers.length) state.practised = plan.practice.length;
    } catch (error) {
      if (error instanceof Refused && error.status === 404) {
        state.offline = true;
        state.booklet = Math.floor(Math.random() * plan.booklets.length);
      } else if (state.booklet === undefined) {
        return fail(`The study cannot begin (${error.message}). Check your connection.`, begin);
      }
    }
  }
  const begun = state.practised > 0 || Object.keys(state.answers).length > 0;
  if (begun) { store.write(); send(); return next(); }
  const trials = plan.booklets[0].length;
  const minutes = Math.max(1, Math.round(((trials + plan.practice.length) * SECONDS_A_TRIAL) / 60));
  $("intro-count").textContent = trials === 1 ? "one edited video" : `${trials} edited videos`;
  $("intro-minutes").textContent = minutes === 1 ? "a minute" : `${minutes} minutes`;
  const practice = plan.practice.length;
  $("intro-practice").textContent =
    practice === 0 ? "" : practice === 1 ? "The first one is for practice." : `The first ${practice} are for practice.`;
  show("intro");
  $("start").focus();
}

function next() {
  const order = plan.booklets[state.booklet];
  const practising = state.practised < plan.practice.length;
  const trial = practising
    ? plan.practice[state.practised]
    : order.find((each) => !(each in state.answers));
  if (trial === undefined) return finish();
  const done = order.filter((each) => each in state.answers).length;
  current = { trial, practising, watched: false, since: performance.now(), ended: 0 };
  $("course").hidden = false;
  $("count").textContent = practising
    ? `Practice ${state.practised + 1} of ${plan.practice.length}`
    : `${done + 1} of ${order.length}`;
  $("progress").max = order.length;
  $("progress").value = done;
  $("practice").hidden = !practising;
  $("prompt-text").textContent = plan.trials[trial].prompt;
  $("form").reset();
  $("said").textContent = "";
  for (const name of ["source", "shown"]) {
    $(name).src = plan.trials[trial][name];
    $(name).load();
  }
  show("trial");
  update();
  $("prompt").focus();
  scrollTo(0, 0);
  if (!quiet.matches) play();
  preload(practising ? plan.practice[state.practised + 1] ?? order[0] : order[order.indexOf(trial) + 1]);
}

function preload(trial) {
  current.later = trial === undefined ? [] : ["source", "shown"].map((name) => {
    const video = document.createElement("video");
    video.preload = "auto";
    video.muted = true;
    video.src = plan.trials[trial][name];
    return video;
  });
}

function play() {
  current.ended = 0;
  for (const name of ["source", "shown"]) {
    $(name).currentTime = 0;
    $(name).play().catch(() => update()); // a browser that plays nothing by itself
  }
}

for (const name of ["source", "shown"]) {
  $(name).addEventListener("ended", () => {
    if (name === "shown") current.watched = true;
    current.ended += 1;
    update();
    if (current.ended >= 2 && !quiet.matches) play();
  });
  $(name).addEventListener("error", () => {
    if ($("trial").hidden) return;
    fail("A video cannot be played. Check your connection; if it stays so, tell whoever runs the study.", next);
  });
}

const given = (question) => Number($("form").elements[question].value) || 0;

function update() {
  const lacking = QUESTIONS.filter((question) => !given(question));
  $("next").disabled = lacking.length > 0 || !current.watched;
  $("hint").textContent = !current.watched
    ? quiet.matches ? "Play the video to its end" : "Watch to the end"
    : lacking.length ? `Rate ${lacking.join(" and ")}` : "";
}

function rate(question, value) {
  const input = $("form").elements[question][value - 1];
  input.checked = true;
  current.rated = question;
  $("said").textContent = `${question}: ${value}`;
  update();
  const left = QUESTIONS.find((each) => !given(each));
  if (left) $("form").elements[left][0].focus();
  else if (!$("next").disabled) $("next").focus();
  else input.focus();
}

function submit() {
  if ($("next").disabled) return;
  if (current.practising) state.practised += 1;
  else {
    const seconds = Math.round((performance.now() - current.since) / 100) / 10;
    state.answers[current.trial] = {
      ...Object.fromEntries(QUESTIONS.map((question) => [question, given(question)])),
      seconds: Math.min(seconds, 86400),
    };
    state.unsent.push(current.trial);
  }
  store.write();
  send();
  next();
}

let sending = false;
async function send() {
  if (sending || state.offline) return;
  sending = true;
  try {
    while (state.unsent.length) {
      const trial = state.unsent[0];
      try {
        await post("api/answer", line(trial));
      } catch (error) {
        // Another window of this browser was first: the server has an answer.
        if (!(error instanceof Refused) || error.status !== 409) throw error;
      }
      state.unsent = state.unsent.filter((each) => each !== trial);
      store.write();
    }
  } catch {
    setTimeout(send, TRY_AGAIN_AFTER);
  } finally {
    sending = false;
    if (!$("done").hidden) told();
  }
}

function finish() {
  $("course").hidden = true;
  $("rater").textContent = state.rater;
  for (const name of ["source", "shown"]) $(name).pause();
  show("done");
  told();
  $("done-title").focus();
}

function told() {
  const left = state.offline || state.unsent.length > 0;
  $("done-text").textContent = state.offline
    ? "All videos are rated. Please download your answers and send the file to whoever runs the study."
    : left
      ? "All videos are rated, but the server does not answer. Leave this page open, or download your answers."
      : "All your answers have arrived. You may close this page.";
  $("download").classList.toggle("main", left);
  $("send").hidden = state.offline || !left;
}

function download() {
  const head = { study: plan.study, rater: state.rater, booklet: state.booklet };
  const lines = [head, ...Object.keys(state.answers).map(line)].map((each) => JSON.stringify(each) + "\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
  link.download = `answers-${state.rater.slice(0, 8)}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

for (const question of QUESTIONS) {
  for (let value = 1; value <= 10; value += 1) {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: question, value });
    const text = Object.assign(document.createElement("span"), { textContent: value });
    input.setAttribute("aria-label", `${question} ${value} of 10`);
    label.append(input, text);
    document.querySelector(`#ask-${question} .scale`).append(label);
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("trial").hidden) return;
  if (/^[0-9]$/.test(event.key)) {
    // The question that has the focus, else the first without an answer, else the one that was rated last.
    const here = QUESTIONS.find((question) => $(`ask-${question}`).contains(document.activeElement));
    rate(here || QUESTIONS.find((question) => !given(question)) || current.rated, Number(event.key) || 10);
    event.preventDefault();
  } else if (event.key === "r" || event.key === "R") {
    play();
    event.preventDefault();
  } else if (event.key === "Enter" && !(document.activeElement instanceof HTMLButtonElement)) {
    submit();
    event.preventDefault();
  }
});

$("form").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
$("form").addEventListener("change", update);
$("again").addEventListener("click", play);
$("start").addEventListener("click", next);
$("download").addEventListener("click", download);
$("send").addEventListener("click", send);
// What another window of this browser answered is not asked again.
addEventListener("storage", (event) => {
  if (plan && event.key === store.name && event.newValue) state = store.read() || state;
});
open();
