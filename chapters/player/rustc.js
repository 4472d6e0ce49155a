// What rustc says, in the colours in which it says it in a terminal. The recordings are plain text.
'use strict';

(() => {
    const { element } = window.lab;
    const HEAD = /^(error|warning|note|help)(\[E\d+\])?(: .*)$/;
    /** What stands on the left of a line: an arrow to a place, a sign, or the bar with or without a line's number. */
    const EDGE = /^(\s*(?:-->|:::|=|\d* \||\.\.\.$))(.*)$/;

    /**
     * The tone of each character of a row of underlines and labels. A label has the tone of the underline that it stands
     * behind or hangs from. `above` has the underlines by their columns, and learns those of this row.
     */
    function annotated(row, above, caret, headline) {
        const tones = { ' ': '', '^': caret, _: caret, '-': 'place', '+': 'help', '~': 'help' };
        const found = [];
        for (const [column, sign] of [...row].entries()) {
            if (sign in tones) found.push(tones[sign]);
            else if (sign === '|') found.push(above[column] || caret);
            else {
                const own = headline.endsWith(row.slice(column)) ? caret : null;
                const tone = own || found[column - 1] || found[column - 2] || above[column] || caret;
                return [...found, ...Array(row.length - column).fill(tone)];
            }
            if ('^_-'.includes(sign)) above[column] = found[column];
        }
        return found;
    }

    function paint(code) {
        const part = (text, tone) => (tone ? element('span', { class: `lab-rustc-${tone}` }, text) : text);
        let [level, headline, above] = ['error', '', []];
        const line = (text) => {
            const [, word, number, said] = text.match(HEAD) || [];
            if (word) {
                level = word;
                if (number) headline = said;
                return [part(word + (number || ''), word), part(said, word === 'error' ? 'strong' : '')];
            }
            const [, edge, rest] = text.match(EDGE) || [];
            if (edge === undefined) return [text];
            if (edge.endsWith('=')) return [part(edge, 'place'), ...rest.split(/(?<=^ \w+)(?=:)/).map((some, at) => part(some, at ? '' : 'strong'))];
            if (!edge.endsWith('|')) return [part(edge, 'place'), rest];
            if (/\d/.test(edge)) {
                above = [];
                // The bar beside the lines of an underline that goes over several.
                const bar = rest.match(/^ \|/)?.[0] || '';
                return [part(edge, 'place'), part(bar, bar && level), rest.slice(bar.length)];
            }
            const tones = annotated(rest, above, level, headline);
            const runs = [];
            [...rest].forEach((sign, column) => {
                if (column > 0 && tones[column] === tones[column - 1]) runs[runs.length - 1][0] += sign;
                else runs.push([sign, tones[column]]);
            });
            return [part(edge, 'place'), ...runs.map(([some, tone]) => part(some, tone))];
        };
        code.replaceChildren(...code.textContent.split(/(?<=\n)/).flatMap((text) => [...line(text.replace('\n', '')), '\n']));
        code.classList.add('lab-rustc');
    }

    const messages = [...document.querySelectorAll('pre > code')].filter((code) => /^error(\[E\d+\])?: .*\n *--> /.test(code.textContent));
    messages.forEach(paint);
})();
