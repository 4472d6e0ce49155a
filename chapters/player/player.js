// The lanes player, and what it shares with the scheduler game (`game.js`).
//
// Both show what the project's tests have written: traces of real runs, and graphs of every order of a model's moves. No
// rule of the server is known here. A data file is a script (`labData(name, {...})`), so that it loads from a folder as it
// does from a server. Without this file the figures in the pages stand as they are.
'use strict';

(() => {
    const arrived = new Map();
    const waiting = new Map();

    window.labData = (name, data) => {
        arrived.set(name, data);
        (waiting.get(name) || []).forEach((ready) => ready(data));
        waiting.delete(name);
    };

    /** Loads `traces/stage3_broken.js`, which hands over the data of that name. */
    function load(path) {
        const name = path.split('/').pop().replace(/\.js$/, '');
        if (arrived.has(name)) return Promise.resolve(arrived.get(name));
        return new Promise((ready, failed) => {
            const others = waiting.get(name) || [];
            waiting.set(name, others.concat(ready));
            if (others.length > 0) return;
            const script = element('script', { src: path });
            script.addEventListener('error', () => failed(new Error(`${path} is not there`)));
            document.head.append(script);
        });
    }

    /** A trace or a graph, and the source of its stage: a file of its own, which is loaded once. */
    async function withSource(path) {
        const data = await load(path);
        const stage = (data.head || data).file.match(/(\w+)\.rs$/)[1];
        return [data, await load(path.replace(/[^/]+$/, `${stage}.source.js`))];
    }

    function element(tag, attributes = {}, ...children) {
        const made = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes)) {
            if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
            else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
        }
        made.append(...children.filter((child) => child !== null && child !== undefined));
        return made;
    }

    const thousands = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ',');

    const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

    /** Keeps the reader's place: only the list scrolls, never the page. */
    function reveal(list, row) {
        const above = row.offsetTop;
        const below = above + row.offsetHeight;
        let top = list.scrollTop;
        if (above < top) top = above;
        else if (below > top + list.clientHeight) top = below - list.clientHeight;
        else return;
        list.scrollTo({ top, behavior: calm() ? 'auto' : 'smooth' });
    }

    /** The lanes: a list of rows, each in the column of its role. */
    class Lanes {
        constructor(roles, label, choose) {
            this.roles = roles;
            this.choose = choose;
            this.rows = [];
            this.list = element('ol', { class: 'lab-lanes', tabindex: '0', 'aria-label': label });
            const names = roles.map((role) => element('span', {}, role));
            this.head = element('div', { class: 'lab-head', 'aria-hidden': 'true' }, element('span'), ...names);
            this.element = element('div', { class: 'lab-table', style: `--lanes: ${roles.length}` }, this.head, this.list);
        }

        /** `role` is null for a remark across all lanes. */
        add({ step, role, text, mark }) {
            const at = this.rows.length;
            const column = role === null ? '2 / -1' : String(this.roles.indexOf(role) + 2);
            const crash = /^(SIG|crash)/.test(mark || '');
            const button = element(
                'button',
                { type: 'button', class: `lab-event${crash ? ' bad' : ''}`, style: `--column: ${column}`, tabindex: '-1' },
                role === null ? null : element('span', { class: 'lab-who' }, `${role} `),
                text,
                mark ? element('strong', { class: 'lab-mark' }, ` ${mark}`) : null,
            );
            button.addEventListener('click', () => this.choose(at));
            const row = element('li', {}, element('span', { class: 'lab-step' }, step ? String(step) : ''), button);
            this.rows.push(row);
            this.list.append(row);
        }

        cut(length) {
            this.rows.splice(length).forEach((row) => row.remove());
        }

        mark(at) {
            this.rows.forEach((row, other) => {
                row.classList.toggle('past', other < at);
                row.classList.toggle('now', other === at);
                if (other === at) row.firstChild.nextSibling.setAttribute('aria-current', 'step');
                else row.firstChild.nextSibling.removeAttribute('aria-current');
            });
            if (this.rows[at]) reveal(this.list, this.rows[at]);
        }
    }

    /** The state of the world: the sections of a panel. What has just changed is marked. */
    class Panel {
        constructor(sections) {
            this.sections = sections;
            this.before = null;
            this.element = element('div', { class: 'lab-panel' });
        }

        show(panel) {
            const known = new Set((this.before || panel).map((rows, at) => rows.map((row) => `${at} ${row}`)).flat());
            this.before = panel;
            const section = (title, at) => {
                const rows = panel[at].map(([name, detail, tone]) => {
                    const fresh = known.has(`${at} ${[name, detail, tone]}`) ? '' : ' fresh';
                    return element('li', { class: tone + fresh }, element('b', {}, name), detail ? ` ${detail}` : '');
                });
                const list = rows.length > 0 ? element('ul', {}, ...rows) : element('p', {}, 'empty');
                return element('section', {}, element('h4', {}, title), list);
            };
            this.element.replaceChildren(...this.sections.map(section));
        }
    }

    /** A few lines of the source around the current one. */
    class Source {
        constructor(file, lines) {
            this.file = file;
            this.lines = lines;
            this.caption = element('figcaption');
            this.text = element('pre', { class: 'lab-source', tabindex: '0', 'aria-label': `Source, ${file}` });
            this.element = element('figure', { class: 'lab-figure' }, this.caption, this.text);
        }

        show(line, otherwise) {
            this.caption.textContent = line ? `${this.file}:${line}` : otherwise;
            const shown = [];
            const wanted = (at) => this.lines[at - 1] !== undefined && !/^\s*\/\/ ANCHOR/.test(this.lines[at - 1]);
            if (line) {
                shown.push(line);
                for (let at = line - 1; at > 0 && shown.length < 4; at--) if (wanted(at)) shown.unshift(at);
                for (let at = line + 1; at <= this.lines.length && shown.length < 8; at++) if (wanted(at)) shown.push(at);
            }
            const indent = Math.min(...shown.map((at) => this.lines[at - 1]).filter(Boolean).map((l) => l.search(/\S/)));
            const rows = shown.map((at) => {
                const number = element('span', { class: 'lab-number', 'aria-hidden': 'true' }, String(at).padStart(4));
                const text = ` ${this.lines[at - 1].slice(indent)}\n`;
                return element('span', at === line ? { class: 'now', 'aria-current': 'true' } : {}, number, text);
            });
            this.text.replaceChildren(...rows);
            this.text.hidden = !line;
        }
    }

    /** Puts `live` in the place of the static figure, which stays for print. */
    function replace(place, live) {
        const still = element('div', { class: 'lab-still' });
        still.append(...place.childNodes);
        place.append(live, still);
        place.classList.add('live');
    }

    const button = (label, press, more = {}) => element('button', { type: 'button', onclick: press, ...more }, label);

    /** What the button says, and the milliseconds of a row. */
    const SPEEDS = [['1×', 1400], ['2×', 700], ['½×', 2800]];

    class Player {
        constructor(place, [whole, source]) {
            const last = Number(place.dataset.last || whole.rows.length);
            const data = { ...whole, rows: whole.rows.slice(-last) };
            this.name = place.dataset.trace.split('/').pop().replace(/\.js$/, '');
            this.rows = data.rows;
            this.at = 0;
            this.timer = null;
            this.lanes = new Lanes(data.roles, `The lanes of ${data.stage}`, (at) => this.go(at));
            for (const [step, role, text, mark] of data.rows) this.lanes.add({ step, role, text, mark });
            this.panel = new Panel(data.sections);
            this.drawing = window.labDrawing(data);
            this.source = new Source(data.file, source);
            this.live = element('p', { class: 'lab-live', 'aria-live': 'polite' });
            this.speed = 0;
            this.playing = button('Play', () => this.play(), { 'aria-pressed': 'false' });
            this.pace = button(`Speed ${SPEEDS[0][0]}`, () => this.hurry());
            this.slider = element('input', { type: 'range', min: 0, max: this.rows.length - 1, value: 0, 'aria-label': 'Row' });
            this.slider.addEventListener('input', () => this.go(Number(this.slider.value)));
            const controls = element(
                'div',
                { class: 'lab-controls', role: 'group', 'aria-label': 'Player' },
                button('First', () => this.go(0)),
                button('Back', () => this.go(this.at - 1)),
                this.playing,
                button('Next', () => this.go(this.at + 1)),
                button('Last', () => this.go(this.rows.length - 1)),
                this.pace,
                this.slider,
            );
            const inWords = element('details', {}, element('summary', {}, 'The same in words'), this.panel.element);
            const beside = element('div', { class: 'lab-beside' }, this.drawing.element, inWords);
            const left = element('div', { class: 'lab-left' }, this.lanes.element);
            // Where there are few rows, there is room for the source below them.
            (this.rows.length > 6 ? beside : left).append(this.source.element);
            const body = element('div', { class: 'lab-body' }, left, beside);
            const title = element('p', { class: 'lab-title' }, element('b', {}, data.stage), `: ${data.title}`);
            const keys = 'Click here, or come here with Tab; then the arrow keys step, Home and End jump, space plays. ';
            const label = `Player: the recorded run of ${data.stage}`;
            this.link = element('a', {}, 'Link to this row');
            const live = element('div', { class: 'lab-box', role: 'region', 'aria-label': label, tabindex: '0' });
            live.append(title, controls, this.live, body, element('p', { class: 'lab-keys' }, keys, this.link));
            live.addEventListener('keydown', (event) => this.key(event));
            replace(place, live);
            this.go(last < whole.rows.length ? last - 1 : 0);
            const linked = () => this.linked(live);
            addEventListener('hashchange', linked);
            linked();
        }

        /** `#stage4_broken:15` is a row of this player, counted from 1. */
        linked(live) {
            const [, name, row] = location.hash.match(/^#(\w+):(\d+)$/) || [];
            if (name !== this.name) return;
            for (let at = live.closest('details'); at; at = at.parentElement.closest('details')) at.open = true;
            this.go(Number(row) - 1);
            live.scrollIntoView({ block: 'start', behavior: 'instant' });
            live.focus({ preventScroll: true });
        }

        go(at) {
            this.at = Math.max(0, Math.min(at, this.rows.length - 1));
            const [step, role, text, mark, line, panel] = this.rows[this.at];
            this.lanes.mark(this.at);
            this.panel.show(panel);
            this.drawing.show(this.rows[this.at]);
            const outside = role?.startsWith('client') ? 'The client: outside the server, so no line of it.' : 'No line: nobody passed one.';
            this.source.show(line, outside);
            this.slider.value = this.at;
            this.link.href = `#${this.name}:${this.at + 1}`;
            const place = `Row ${this.at + 1} of ${this.rows.length}`;
            const said = [step ? `step ${step}` : null, role].filter(Boolean).join(', ');
            this.slider.setAttribute('aria-valuetext', `${place}: ${role || ''} ${text}`);
            this.live.textContent = `${place}${said ? `, ${said}` : ''}: ${text}${mark ? ` (${mark})` : ''}`;
            this.live.classList.toggle('bad', Boolean(mark && mark.startsWith('SIG')));
            if (this.at === this.rows.length - 1) this.stop();
        }

        play() {
            if (this.timer !== null) return this.stop();
            if (this.at === this.rows.length - 1) this.go(0);
            this.playing.textContent = 'Pause';
            this.playing.setAttribute('aria-pressed', 'true');
            this.timer = setInterval(() => this.go(this.at + 1), SPEEDS[this.speed][1]);
        }

        hurry() {
            this.speed = (this.speed + 1) % SPEEDS.length;
            this.pace.textContent = `Speed ${SPEEDS[this.speed][0]}`;
            if (this.timer === null) return;
            this.stop();
            this.play();
        }

        stop() {
            clearInterval(this.timer);
            this.timer = null;
            this.playing.textContent = 'Play';
            this.playing.setAttribute('aria-pressed', 'false');
        }

        key(event) {
            if (event.ctrlKey || event.metaKey || event.altKey) return;
            const onButton = event.target.tagName === 'BUTTON';
            const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
            if (event.key in steps) this.go(this.at + steps[event.key]);
            else if (event.key === 'Home') this.go(0);
            else if (event.key === 'End') this.go(this.rows.length - 1);
            else if (event.key === ' ' && !onButton) this.play();
            else return;
            event.preventDefault();
            // mdBook turns pages with the arrow keys.
            event.stopPropagation();
        }
    }

    /** Listings that are too wide scroll, so the keyboard must come to them too. */
    function reachable() {
        for (const code of document.querySelectorAll('pre > code')) {
            if (code.scrollWidth <= code.clientWidth) continue;
            code.tabIndex = 0;
            // mdBook turns pages with the arrow keys.
            code.addEventListener('keydown', (event) => event.key.startsWith('Arrow') && event.stopPropagation());
        }
        // Tables have their place in the order of Tab already.
        for (const scroller of document.querySelectorAll('.lab-scroller')) {
            scroller.addEventListener('keydown', (event) => event.key.startsWith('Arrow') && event.stopPropagation());
        }
    }
    addEventListener('load', reachable);

    function failed(place, error) {
        place.append(element('p', { class: 'lab-live' }, `The player did not load: ${error.message}.`));
    }

    const players = [...document.querySelectorAll('.lanes-player')].map((place) =>
        withSource(place.dataset.trace).then((loaded) => new Player(place, loaded)).catch((error) => failed(place, error)));
    // Once all of them have their height, the one that a link means is where it stays.
    Promise.all(players).then(() => dispatchEvent(new Event('hashchange')));
    // For the game and the listings, which are files of their own.
    window.lab = { Lanes, Panel, Source, button, element, failed, load, replace, reveal, thousands, withSource };
})();
