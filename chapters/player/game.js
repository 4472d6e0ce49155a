// The scheduler game: the reader walks through a graph of every order of a model's moves.
//
// All that it knows of the server is what the graph says, which `tests/game` has written.
'use strict';

(() => {
    const { Lanes, Panel, Source, button, element, failed, replace, thousands, withSource } = window.lab;

    /** "You are the scheduler": the reader walks through a graph. */
    class Game {
        constructor(place, graphs) {
            this.graphs = graphs.map(([graph]) => graph);
            this.sources = graphs.map(([, source]) => source);
            this.live = element('p', { class: 'lab-live', 'aria-live': 'polite' });
            this.score = element('p', { class: 'lab-score' });
            this.proof = element('p', { class: 'lab-proof' });
            this.twins = element('div', { class: 'lab-controls', role: 'group', 'aria-label': 'Which server' });
            this.graphs.forEach((graph, at) => {
                const pick = () => this.pick(at);
                this.twins.append(button(graph.head.stage, pick, { 'aria-pressed': 'false' }));
            });
            this.choices = element('div', { class: 'lab-choices', role: 'group', 'aria-label': 'Who moves next?' });
            this.undo = button('Undo', () => this.back(this.path.length - 1));
            const tools = element(
                'div',
                { class: 'lab-controls', role: 'group', 'aria-label': 'The game' },
                this.undo,
                button('Start again', () => this.back(0)),
                button('Hint', () => this.hint()),
                button('Random order', () => this.random()),
            );
            this.body = element('div', { class: 'lab-body' });
            const keys = 'Keys 1 to 4 choose, Backspace undoes.';
            const attributes = { class: 'lab-box', role: 'region', 'aria-label': `You are the scheduler. ${keys}`, tabindex: '0' };
            const live = element('div', attributes, element('p', { class: 'lab-title' }, element('b', {}, 'You are the scheduler')));
            live.append(this.twins, this.proof, this.choices, tools, this.score, this.live, this.body);
            live.append(element('p', { class: 'lab-keys' }, keys));
            live.addEventListener('keydown', (event) => this.key(event));
            replace(place, live);
            this.pick(0);
        }

        pick(at) {
            this.graph = this.graphs[at];
            const { head } = this.graph;
            [...this.twins.children].forEach((twin, other) => twin.setAttribute('aria-pressed', String(other === at)));
            const [orders, states] = [thousands(head.orders), thousands(head.states)];
            this.proof.textContent =
                head.fewest === null
                    ? `Proved safe: the ${orders} orders of these moves lead through ${states} states, and in none of them does this server crash or hang. Try it.`
                    : `These moves can be made in ${orders} orders, through ${states} states. Some orders crash: ${head.fewest} moves are enough. Find one.`;
            this.lanes = new Lanes(head.roles, 'What you have let happen', (row) => this.back(row + 1));
            this.panel = new Panel(head.sections);
            this.source = new Source(head.file, this.sources[at]);
            const beside = element('div', { class: 'lab-beside' }, this.panel.element, this.source.element);
            this.body.replaceChildren(this.lanes.element, beside);
            const choice = (role, index) => {
                const look = () => this.look(index);
                return button('', () => this.move(index), { onfocus: look, onmouseenter: look, 'data-role': role });
            };
            this.choices.replaceChildren(...head.roles.map(choice));
            this.path = [];
            this.show();
        }

        get node() {
            return this.graph.nodes[this.path.length > 0 ? this.path[this.path.length - 1].to : this.graph.head.start];
        }

        moveOf(role) {
            return this.node[2].find((move) => move[0] === role);
        }

        /** Shows where a role stands. */
        look(role) {
            const move = this.moveOf(role);
            if (move) this.source.show(move[2], 'The client: outside the server, so no line of it.');
        }

        move(role) {
            const move = this.moveOf(role);
            if (!move) {
                const why = this.graph.texts[this.node[1][role]];
                this.live.textContent = `${this.graph.head.roles[role]} cannot move now: it ${why}.`;
                return;
            }
            const [, , line, did, to] = move;
            const crash = this.graph.nodes[to][3] !== null && this.graph.nodes[to][4] === 0;
            this.path.push({ role, to, line });
            const name = this.graph.head.roles[role];
            const text = this.graph.texts[did];
            this.lanes.add({ step: this.path.length, role: name, text, mark: crash ? 'crash' : null });
            this.show(`${name} ${text}`);
        }

        back(length) {
            if (length < 0 || length >= this.path.length) return;
            this.path.length = length;
            this.lanes.cut(this.path.length);
            this.show('Taken back');
        }

        show(said = '') {
            const [panel, stands, moves, end, fewest] = this.node;
            const { head, texts } = this.graph;
            this.lanes.mark(this.path.length - 1);
            this.panel.show(this.graph.panels[panel]);
            const last = this.path[this.path.length - 1];
            this.source.show(last && last.line, last ? 'The client: outside the server, so no line of it.' : 'Nobody has moved.');
            head.roles.forEach((name, role) => {
                const move = moves.find((other) => other[0] === role);
                const choice = this.choices.children[role];
                choice.setAttribute('aria-disabled', String(!move));
                choice.classList.remove('hinted');
                const what = move ? `${texts[move[1]]}${move[2] ? `, line ${move[2]}` : ''}` : texts[stands[role]];
                choice.replaceChildren(element('kbd', {}, String(role + 1)), element('b', {}, ` ${name}`), ` ${what}`);
            });
            const lost = document.activeElement;
            if (lost && lost.parentNode === this.choices && lost.getAttribute('aria-disabled') === 'true') {
                const next = this.choices.querySelector('[aria-disabled=false]');
                if (next) next.focus();
            }
            this.undo.setAttribute('aria-disabled', String(this.path.length === 0));
            const fewestAll = head.fewest === null ? '' : `; the fewest to a crash: ${head.fewest}`;
            this.score.textContent = `Moves: ${this.path.length}${fewestAll}.`;
            const crash = end !== null && fewest === 0;
            let text = said;
            if (crash) {
                const needed = this.path.length - head.fewest;
                const praise = needed === 0 ? 'No order is shorter.' : `${needed} more than the shortest order.`;
                text = `Crash: ${texts[end]}. ${said}. You needed ${this.path.length} moves. ${praise}`;
            } else if (end !== null) {
                const next = head.fewest === null ? 'So do all the others.' : 'Take some moves back and try another order.';
                text = `${said}. The end: ${texts[end]}. This order does no harm. ${next}`;
            } else if (head.fewest !== null && fewest === null) {
                text = `${said}. From here no order crashes any more: take a move back.`;
            }
            this.live.textContent = text || 'Choose who moves first.';
            this.live.classList.toggle('bad', crash);
            this.live.classList.toggle('good', end !== null && !crash);
        }

        hint() {
            const nodes = this.graph.nodes;
            const near = this.node[2].filter((move) => nodes[move[4]][4] !== null);
            near.sort((one, other) => nodes[one[4]][4] - nodes[other[4]][4]);
            if (near.length === 0) {
                const none = this.graph.head.fewest === null ? 'No order of this server crashes.' : 'No order crashes from here.';
                this.live.textContent = this.node[2].length === 0 ? 'It is over. Undo, or start again.' : none;
                return;
            }
            const choice = this.choices.children[near[0][0]];
            choice.classList.add('hinted');
            const left = nodes[near[0][4]][4] + 1;
            this.live.textContent = `Hint: ${this.graph.head.roles[near[0][0]]}. A crash is ${left} moves away.`;
            choice.focus();
        }

        random() {
            if (this.node[2].length === 0) this.back(0);
            while (this.node[2].length > 0) {
                const moves = this.node[2];
                this.move(moves[Math.floor(Math.random() * moves.length)][0]);
            }
        }

        key(event) {
            if (event.ctrlKey || event.metaKey || event.altKey) return;
            const role = Number(event.key) - 1;
            const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
            if (role >= 0 && role < this.graph.head.roles.length) {
                this.move(role);
            } else if (event.key === 'Backspace') {
                this.back(this.path.length - 1);
            } else if (event.key in steps && event.target.parentNode === this.choices) {
                const all = [...this.choices.children];
                all[(all.indexOf(event.target) + steps[event.key] + all.length) % all.length].focus();
            } else if (!(event.key in steps)) {
                return;
            }
            event.preventDefault();
            event.stopPropagation();
        }
    }

    document.querySelectorAll('.scheduler-game').forEach((place) => {
        const paths = place.dataset.graphs.split(' ');
        Promise.all(paths.map(withSource)).then((graphs) => new Game(place, graphs)).catch((error) => failed(place, error));
    });
})();
